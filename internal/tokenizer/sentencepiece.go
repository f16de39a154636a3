package tokenizer

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// SentencePiece is a tokenizer.model: the pieces of SentencePiece's ModelProto and the settings that change ids.
type SentencePiece struct {
	Pieces    []Piece // by id
	ModelType int     // UnigramModel, BPEModel, WordModel or CharModel

	UnkID, BOSID, EOSID, PADID int // as the trainer was told; -1: none

	ByteFallback            bool   // what is no piece is spelled in byte pieces
	TreatWhitespaceAsSuffix bool   // the space mark stands behind a word
	AddDummyPrefix          bool   // a text begins as if a space stood before it
	RemoveExtraWhitespaces  bool   // runs of spaces are one, and there are none at the ends
	EscapeWhitespaces       bool   // spaces stand in pieces as ▁
	PrecompiledCharsmap     []byte // replacements of the normalizer; empty: none
}

// Piece is one piece of a SentencePiece model.
type Piece struct {
	Text  string
	Score float32
	Type  int // PieceNormal to PieceByte
}

// Types of pieces, as SentencePiece numbers them.
const (
	PieceNormal = iota + 1
	PieceUnknown
	PieceControl
	PieceUserDefined
	PieceUnused
	PieceByte
)

// Types of models, as SentencePiece numbers them.
const (
	UnigramModel = iota + 1
	BPEModel
	WordModel
	CharModel
)

// ParseSentencePiece reads the bytes of a tokenizer.model. Values that the file leaves out are the defaults of
// SentencePiece. An error names the byte.
func ParseSentencePiece(data []byte) (*SentencePiece, error) {
	m := &SentencePiece{
		ModelType: UnigramModel, BOSID: 1, EOSID: 2, PADID: -1,
		AddDummyPrefix: true, RemoveExtraWhitespaces: true, EscapeWhitespaces: true,
	}
	err := eachField(data, 0, func(f field) error {
		switch f.number {
		case 1:
			p := Piece{Type: PieceNormal}
			if err := f.message(p.set); err != nil {
				return fmt.Errorf("piece %d: %w", len(m.Pieces), err)
			}
			m.Pieces = append(m.Pieces, p)
		case 2:
			return f.message(m.setTrainer)
		case 3:
			return f.message(m.setNormalizer)
		}
		return nil
	})
	if err == nil {
		err = m.check()
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// set takes a field of a piece.
func (p *Piece) set(f field) error {
	switch f.number {
	case 1:
		return f.text(&p.Text)
	case 2:
		return f.float(&p.Score)
	case 3:
		return f.int(&p.Type)
	}
	return nil
}

// setTrainer takes a field of the TrainerSpec.
func (m *SentencePiece) setTrainer(f field) error {
	switch f.number {
	case 3:
		return f.int(&m.ModelType)
	case 24:
		return f.bool(&m.TreatWhitespaceAsSuffix)
	case 35:
		return f.bool(&m.ByteFallback)
	case 40:
		return f.int(&m.UnkID)
	case 41:
		return f.int(&m.BOSID)
	case 42:
		return f.int(&m.EOSID)
	case 43:
		return f.int(&m.PADID)
	}
	return nil
}

// setNormalizer takes a field of the NormalizerSpec.
func (m *SentencePiece) setNormalizer(f field) error {
	switch f.number {
	case 2:
		if f.kind != protowire.BytesType {
			return f.mistyped("bytes")
		}
		m.PrecompiledCharsmap = append([]byte(nil), f.bytes...)
	case 3:
		return f.bool(&m.AddDummyPrefix)
	case 4:
		return f.bool(&m.RemoveExtraWhitespaces)
	case 5:
		return f.bool(&m.EscapeWhitespaces)
	}
	return nil
}

// check wants a model that can be used.
func (m *SentencePiece) check() error {
	if len(m.Pieces) == 0 {
		return errors.New("it has no pieces")
	}
	if len(m.Pieces) > maxTokens {
		return fmt.Errorf("%d pieces, want at most %d", len(m.Pieces), maxTokens)
	}
	if m.ModelType < UnigramModel || m.ModelType > CharModel {
		return fmt.Errorf("model_type is %d, want 1 (unigram) to 4 (char)", m.ModelType)
	}
	seen := make(map[string]int, len(m.Pieces))
	for i, p := range m.Pieces {
		first, twice := seen[p.Text]
		switch {
		case p.Text == "":
			return fmt.Errorf("piece %d is empty", i)
		case twice:
			return fmt.Errorf("piece %d is %q, as piece %d is", i, p.Text, first)
		case p.Type < PieceNormal || p.Type > PieceByte:
			return fmt.Errorf("piece %d (%q) is of type %d, want 1 (normal) to 6 (byte)", i, p.Text, p.Type)
		case math.IsNaN(float64(p.Score)) || math.IsInf(float64(p.Score), 0):
			return fmt.Errorf("piece %d (%q) has the score %v, want a finite number", i, p.Text, p.Score)
		}
		seen[p.Text] = i
	}
	for name, id := range map[string]int{"unk_id": m.UnkID, "bos_id": m.BOSID, "eos_id": m.EOSID, "pad_id": m.PADID} {
		if id < -1 || id >= len(m.Pieces) {
			return fmt.Errorf("%s is %d, want -1 or the number of one of the %d pieces", name, id, len(m.Pieces))
		}
	}
	return nil
}

// field is one field of a protobuf message.
type field struct {
	number protowire.Number
	kind   protowire.Type
	at     int    // byte of the file where it begins
	value  uint64 // of a varint or a fixed 32-bit number
	bytes  []byte
	from   int // byte of the file where bytes begins
}

// eachField calls set for the fields of a message that begins at byte at of the file. Groups and 64-bit numbers are
// skipped: no field that we read is one.
func eachField(data []byte, at int, set func(field) error) error {
	for rest := data; len(rest) > 0; {
		f := field{at: at + len(data) - len(rest)}
		var n int
		if f.number, f.kind, n = protowire.ConsumeTag(rest); n < 0 {
			return fmt.Errorf("byte %d: %w", f.at, protowire.ParseError(n))
		}
		rest = rest[n:]
		switch f.kind {
		case protowire.VarintType:
			f.value, n = protowire.ConsumeVarint(rest)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(rest)
			f.value = uint64(v)
		case protowire.BytesType:
			if f.bytes, n = protowire.ConsumeBytes(rest); n >= 0 {
				f.from = at + len(data) - len(rest) + n - len(f.bytes)
			}
		default:
			n = protowire.ConsumeFieldValue(f.number, f.kind, rest)
		}
		if n < 0 {
			return fmt.Errorf("byte %d: field %d: %w", f.at, f.number, protowire.ParseError(n))
		}
		rest = rest[n:]
		if err := set(f); err != nil {
			return err
		}
	}
	return nil
}

func (f field) mistyped(want string) error {
	return fmt.Errorf("byte %d: field %d has wire type %d, want %s", f.at, f.number, f.kind, want)
}

// message reads the fields of a message within.
func (f field) message(set func(field) error) error {
	if f.kind != protowire.BytesType {
		return f.mistyped("a message")
	}
	return eachField(f.bytes, f.from, set)
}

func (f field) text(to *string) error {
	if f.kind != protowire.BytesType {
		return f.mistyped("a string")
	}
	if !utf8.Valid(f.bytes) {
		return fmt.Errorf("byte %d: field %d is %q, which is no UTF-8", f.at, f.number, f.bytes)
	}
	*to = string(f.bytes)
	return nil
}

func (f field) float(to *float32) error {
	if f.kind != protowire.Fixed32Type {
		return f.mistyped("a 32-bit float")
	}
	*to = math.Float32frombits(uint32(f.value))
	return nil
}

// int reads an int32 or an enum.
func (f field) int(to *int) error {
	if f.kind != protowire.VarintType {
		return f.mistyped("an integer")
	}
	if v := int64(f.value); v < math.MinInt32 || v > math.MaxInt32 {
		return fmt.Errorf("byte %d: field %d is %d, want an int32", f.at, f.number, v)
	}
	*to = int(int64(f.value))
	return nil
}

func (f field) bool(to *bool) error {
	if f.kind != protowire.VarintType {
		return f.mistyped("a boolean")
	}
	*to = f.value != 0
	return nil
}
