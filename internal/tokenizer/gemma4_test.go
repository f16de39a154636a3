package tokenizer

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/testdata"
)

// TestGemma4 gives a GGUF file the vocabulary of a directory and wants the ids that llama.cpp and Hugging Face's
// tokenizers have for it.
func TestGemma4(t *testing.T) {
	dir := testdata.Shared(t, "convert/gemma-4-E0.1M-it")
	var given struct {
		Model struct {
			Vocab  map[string]int32
			Merges [][2]string
		}
		Added []struct {
			ID      int32
			Content string
			Special bool
		} `json:"added_tokens"`
	}
	var expected struct{ Encode [][3]any }
	for file, into := range map[string]any{"tokenizer.json": &given, "expected/tokenizer.json": &expected} {
		text, err := os.ReadFile(dir + "/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
	}
	tokens, types := make([]string, len(given.Model.Vocab)), make([]int32, len(given.Model.Vocab))
	for text, id := range given.Model.Vocab {
		tokens[id], types[id] = text, 1
		if len(text) == 6 && strings.HasPrefix(text, "<0x") {
			types[id] = 6
		}
	}
	for _, a := range given.Added {
		types[a.ID] = 4
		if a.Special {
			types[a.ID] = 3
		}
	}
	var merges []string
	for _, m := range given.Model.Merges {
		merges = append(merges, m[0]+" "+m[1])
	}
	tok, err := FromGGUF(metadata(t, &gguf.Metadata{}, map[string]any{
		keyModel: Gemma4, keyTokens: tokens, keyTypes: types, keyMerges: merges, keyBOS: uint32(2), keyEOS: uint32(1),
		keyAddBOS: false,
	}))
	if err != nil {
		t.Fatal(err)
	}
	if !tok.AddBOS() || tok.Kind() != Gemma4 {
		t.Errorf("texts begin with BOS: %v, kind %s", tok.AddBOS(), tok.Kind())
	}
	for _, c := range expected.Encode {
		text := c[0].(string)
		if text == "<reference text>" {
			reference, err := os.ReadFile(testdata.Shared(t, "convert/reference-text.txt"))
			if err != nil {
				t.Fatal(err)
			}
			text = string(reference)
		}
		var want []int32
		for _, id := range c[1].([]any) {
			want = append(want, int32(id.(float64)))
		}
		got := tok.Encode(text, false)
		if !slices.Equal(got, want) {
			t.Errorf("%.40q: ids %v, expected %v", text, got, want)
		}
		if back := tok.Decode(got); back != text {
			t.Errorf("%.40q comes back as %.60q", text, back)
		}
	}
}
