package tokenizer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/internal/tokenizer/corpus"
)

// TestFromSentencePiece wants of each reference directory with a tokenizer.model the ids that a GGUF file with its
// pieces gives.
func TestFromSentencePiece(t *testing.T) {
	texts := corpus.Texts(300, 6)
	for _, c := range []struct {
		name       string
		bos        string
		adds       bool
		text, want string
	}{
		{"Mistral-Tiny-v0.3", "<s>", true, "[INST]the king[/INST]", "[INST] ▁the ▁k ing [/INST]"},
		{"Mixtral-4x40K-Instruct-v0.1", "<s>", true, "<s>the king", "<s> ▁the ▁k ing"},
		{"Phi-3.5-tiny-instruct", "<s>", false, "<|assistant|>the king", "<|assistant|> ▁the ▁k ing"},
		{"gemma-3-0.1m-it", "<bos>", true, "<start_of_turn>the king", "<start_of_turn> t he ▁k ing"},
	} {
		dir := testdata.Shared(t, "convert/"+c.name)
		tok, err := FromHF(dir)
		if err != nil {
			t.Error(err)
			continue
		}
		bos, _ := tok.BOS()
		if tok.vocab.text[bos] != c.bos || tok.AddBOS() != c.adds || tok.AddEOS() {
			t.Errorf("%s: BOS %q added: %v, EOS added: %v", c.name, tok.vocab.text[bos], tok.AddBOS(), tok.AddEOS())
		}
		if got := spell(tok, tok.Encode(c.text, true)); got != c.want {
			t.Errorf("%s: %q gives %s, want %s", c.name, c.text, got, c.want)
		}
		m, err := readModel(dir)
		if err != nil {
			t.Fatal(err)
		}
		var tokens []string
		var scores []float32
		var types []int32
		for _, p := range m.Pieces {
			if p.Type == PieceUserDefined {
				p.Text = strings.ReplaceAll(p.Text, spaceMark, " ") // as the converter writes them
			}
			tokens, scores, types = append(tokens, p.Text), append(scores, p.Score), append(types, int32(p.Type))
		}
		want := from(t, metadata(t, new(gguf.Metadata), map[string]any{keyModel: ScoredBPE, keyTokens: tokens,
			keyScores: scores, keyTypes: types, keyPrefix: m.AddDummyPrefix, keyAddBOS: false}))
		for _, text := range texts {
			if strings.Contains(text, "</s>") || strings.Contains(text, spaceMark) {
				continue // an ordinary added token in one of the directories; the converter writes spaces for ▁ in another
			}
			if got, want := tok.Encode(text, false), want.Encode(text, false); !slices.Equal(got, want) {
				t.Fatalf("%s: %q: %s", c.name, text, difference(tok, got, want))
			}
		}
	}
}

// TestUnigramModel makes a directory of a Unigram model.
func TestUnigramModel(t *testing.T) {
	model := join(
		pieceField(Piece{"<pad>", 0, PieceControl}), pieceField(Piece{"</s>", 0, PieceControl}),
		pieceField(Piece{"<unk>", 0, PieceUnknown}), pieceField(Piece{"▁a", -3, PieceNormal}),
		pieceField(Piece{"b", -3, PieceNormal}), pieceField(Piece{"▁", -9, PieceNormal}),
		pieceField(Piece{"▁ab", -4, PieceNormal}),
		message(2, join(number(3, UnigramModel), number(40, 2), number(41, -1), number(42, 1), number(43, 0))),
		message(3, message(2, charsmapOf('X', "ab"))))
	dir := t.TempDir()
	for name, data := range map[string][]byte{"tokenizer.model": model,
		"added_tokens.json": []byte(`{"<extra>": 9}`), "tokenizer_config.json": []byte(`{"pad_token": "<pad>"}`)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tok, err := FromHF(dir)
	if err != nil {
		t.Fatal(err)
	}
	checkEncodings(t, tok, []encoding{{"a  ab", "▁a ▁ab"}, {"X b", "▁ab ▁ b"}, {"a<extra>b", "▁a <extra> ▁ b"},
		{"aé", "▁a <unk>"}})
	if got := spell(tok, tok.EncodeWithSpecials("a")); got != "▁a </s>" || tok.Size() != 10 || tok.Kind() != Unigram {
		t.Errorf("with special tokens %s, %d tokens of kind %s", got, tok.Size(), tok.Kind())
	}
	for name, c := range map[string]struct {
		file, content, want string
	}{
		"broken": {"tokenizer.model", "x", "no SentencePiece model"},
		"word":   {"tokenizer.model", string(join(model, message(2, number(3, WordModel)))), "a model of type 3"},
		"suffix": {"tokenizer.model", string(join(model, message(2, number(24, 1)))), "treat_whitespace_as_suffix"},
		"charsmap": {"tokenizer.model", string(join(model, message(3, message(2, []byte("ab"))))),
			"a precompiled charsmap of 2"},
		"added id": {"added_tokens.json", `{"<x>": -1}`, `the added token "<x>" has the id -1`},
		"id":       {"tokenizer_config.json", `{"added_tokens_decoder": {"one": {"content": "1"}}}`, `has the id "one"`},
	} {
		dir := t.TempDir()
		for name, data := range map[string][]byte{"tokenizer.model": model, c.file: []byte(c.content)} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		_, err := FromHF(dir)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}
