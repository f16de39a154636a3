package tokenizer

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/peftconv/peftconv/internal/testdata"
)

// pieceField is a piece as a field of a ModelProto.
func pieceField(p Piece) []byte {
	var m []byte
	m = protowire.AppendTag(m, 1, protowire.BytesType)
	m = protowire.AppendString(m, p.Text)
	m = protowire.AppendTag(m, 2, protowire.Fixed32Type)
	m = protowire.AppendFixed32(m, math.Float32bits(p.Score))
	if p.Type != PieceNormal {
		m = protowire.AppendTag(m, 3, protowire.VarintType)
		m = protowire.AppendVarint(m, uint64(p.Type))
	}
	return message(1, m)
}

func message(number protowire.Number, body []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), body)
}

func number(number protowire.Number, v int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), uint64(v))
}

func join(parts ...[]byte) []byte {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// tinyModel is a unigram model that sets every field that we read, and some that we do not.
func tinyModel() []byte {
	return join(
		pieceField(Piece{"<pad>", 0, PieceControl}), pieceField(Piece{"</s>", 0, PieceControl}),
		pieceField(Piece{"<unk>", 0, PieceUnknown}), pieceField(Piece{"▁the", -1.5, PieceNormal}),
		pieceField(Piece{"<0x41>", -3, PieceByte}),
		message(2, join(number(3, BPEModel), number(4, 5), number(24, 1), number(35, 1), number(40, 2), number(41, -1),
			number(42, 1), number(43, 0), message(45, []byte("<unk>")))),
		message(3, join(message(1, []byte("nmt_nfkc")), message(2, []byte{1, 2, 3}), number(3, 0), number(4, 0),
			number(5, 1))),
		message(5, nil))
}

func TestParseSentencePiece(t *testing.T) {
	m, err := ParseSentencePiece(tinyModel())
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Pieces) != 5 || m.Pieces[3] != (Piece{"▁the", -1.5, PieceNormal}) || m.Pieces[2].Type != PieceUnknown {
		t.Errorf("pieces %v", m.Pieces)
	}
	if m.ModelType != BPEModel || m.UnkID != 2 || m.BOSID != -1 || m.EOSID != 1 || m.PADID != 0 || !m.ByteFallback ||
		!m.TreatWhitespaceAsSuffix || m.AddDummyPrefix || m.RemoveExtraWhitespaces || !m.EscapeWhitespaces ||
		string(m.PrecompiledCharsmap) != "\x01\x02\x03" {
		t.Errorf("settings %+v", m)
	}
	if m, err = ParseSentencePiece(pieceField(Piece{"a", 0, PieceNormal})); err == nil {
		t.Errorf("a model whose bos_id 1 is beyond its only piece was read: %+v", m)
	}
	defaults := join(pieceField(Piece{"a", 0, PieceNormal}), pieceField(Piece{"b", 0, PieceNormal}),
		pieceField(Piece{"c", 0, PieceNormal}))
	m, err = ParseSentencePiece(defaults)
	if err != nil || m.ModelType != UnigramModel || m.UnkID != 0 || m.BOSID != 1 || m.EOSID != 2 || m.PADID != -1 ||
		!m.AddDummyPrefix || !m.RemoveExtraWhitespaces || m.ByteFallback {
		t.Errorf("defaults %+v, %v", m, err)
	}
}

func TestSentencePieceRefuses(t *testing.T) {
	three := join(pieceField(Piece{"a", 0, PieceNormal}), pieceField(Piece{"b", 0, PieceNormal}),
		pieceField(Piece{"c", 0, PieceNormal}))
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":        {nil, "no pieces"},
		"another file":   {[]byte("GGUF\x03\x00\x00\x00"), "byte 0"},
		"truncated":      {tinyModel()[:40], "byte 31: field 1: unexpected EOF"},
		"twice":          {join(three, pieceField(Piece{"b", 0, PieceNormal})), `piece 3 is "b", as piece 1 is`},
		"empty piece":    {join(three, pieceField(Piece{"", 0, PieceNormal})), "piece 3 is empty"},
		"type 7":         {join(three, pieceField(Piece{"d", 0, 7})), "type 7"},
		"NaN":            {join(three, pieceField(Piece{"d", float32(math.NaN()), 1})), "score NaN"},
		"model type":     {join(three, message(2, number(3, 9))), "model_type is 9"},
		"id beyond":      {join(three, message(2, number(42, 3))), "eos_id is 3"},
		"no UTF-8":       {join(three, message(1, message(1, []byte{0xff}))), "which is no UTF-8"},
		"text as number": {join(three, message(1, number(1, 5))), "wire type 0, want a string"},
		"score as text":  {join(three, message(1, message(2, []byte("1")))), "want a 32-bit float"},
		"int too large":  {join(three, message(2, number(40, 1<<40))), "want an int32"},
		"piece a number": {join(three, number(1, 3)), "want a message"},
	} {
		if _, err := ParseSentencePiece(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestSentencePieceFiles reads the models of the reference directories.
func TestSentencePieceFiles(t *testing.T) {
	for _, c := range []struct {
		name   string
		pieces int
		first  string
	}{
		{"Mistral-Tiny-v0.3", 540, "<unk>"}, {"Mixtral-4x40K-Instruct-v0.1", 512, "<unk>"},
		{"Phi-3.5-tiny-instruct", 540, "<unk>"}, {"gemma-2-tiny-it", 640, "<pad>"}, {"gemma-3-0.1m-it", 640, "<pad>"},
	} {
		m, err := readModel(testdata.Shared(t, "convert/"+c.name))
		if err != nil {
			t.Error(err)
			continue
		}
		bytes := 0
		for _, p := range m.Pieces {
			if p.Type == PieceByte {
				bytes++
			}
		}
		if len(m.Pieces) != c.pieces || m.Pieces[0].Text != c.first || m.ModelType != BPEModel || bytes != 256 {
			t.Errorf("%s: %d pieces, first %q, type %d, %d byte pieces", c.name, len(m.Pieces), m.Pieces[0].Text,
				m.ModelType, bytes)
		}
	}
}

// readModel reads the tokenizer.model of a directory.
func readModel(dir string) (*SentencePiece, error) {
	data, err := os.ReadFile(filepath.Join(dir, modelFile))
	if err != nil {
		return nil, err
	}
	return ParseSentencePiece(data)
}

func FuzzSentencePiece(f *testing.F) {
	f.Add(tinyModel())
	f.Add([]byte{0x0a, 0x03, 0x0a, 0x01, 0x61})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseSentencePiece(data)
		if err != nil {
			return
		}
		// What was read writes the same pieces again.
		var again []byte
		for _, p := range m.Pieces {
			again = append(again, pieceField(p)...)
		}
		again = append(again, message(2, join(number(40, -1), number(41, -1), number(42, -1)))...)
		n, err := ParseSentencePiece(again)
		if err != nil || len(n.Pieces) != len(m.Pieces) {
			t.Fatalf("%d pieces were read, then %v", len(m.Pieces), err)
		}
		for i, p := range m.Pieces {
			if n.Pieces[i] != p {
				t.Fatalf("piece %d is %v, then %v", i, p, n.Pieces[i])
			}
		}
	})
}
