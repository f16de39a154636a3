package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/testdata"
)

func TestHashTable(t *testing.T) {
	table := preTokenizerByHash()
	if len(table) != 95 { // 97 lines, two of which repeat a hash
		t.Errorf("%d hashes", len(table))
	}
	for hash, want := range map[string]string{
		"0876d13b50744004aa9aeae05e7b0647eac9d801b5ba4668afc01e709c15e19f": "jina-v2-en", // bert-bge before
		"b6dc8df998e1cfbdc4eac8243701a65afe638679230920b50d6f17d81c098166": "olmo",       // mpt before
		"653660222fb704f61cbf2b618a8ae6502b7f8b20c980f9a5de07ed78e13319cd": "ufakzeka",   // the last line
	} {
		if table[hash] != want {
			t.Errorf("%s is %q, want %s", hash, table[hash], want)
		}
	}
	if got := hashOfIDs(nil); got != "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945" {
		t.Errorf("no ids hash to %s", got)
	}
}

// hfCase is what the reference data expect of a directory's tokenizer.
type hfCase struct {
	dir         string
	Pre         *string
	FullIDs     []int32 `json:"full_ids"`
	FullHash    string  `json:"full_hash"`
	ReducedHash string  `json:"reduced_hash"`
	Encode      []struct {
		text           string
		plain, special []int32
	}
}

// UnmarshalJSON reads encode's rows: text, ids, ids with special tokens.
func (c *hfCase) UnmarshalJSON(data []byte) error {
	type plain hfCase
	var raw struct {
		*plain
		Encode [][3]json.RawMessage
	}
	raw.plain = (*plain)(c)
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	for _, row := range raw.Encode {
		e := struct {
			text           string
			plain, special []int32
		}{}
		for i, into := range []any{&e.text, &e.plain, &e.special} {
			if err := json.Unmarshal(row[i], into); err != nil {
				return err
			}
		}
		if e.text == "<reference text>" {
			e.text = referenceText
		}
		c.Encode = append(c.Encode, e)
	}
	return nil
}

// hfCases are the reference directories that have a tokenizer.json.
func hfCases(t *testing.T) []hfCase {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(testdata.Shared(t, "convert"), "*", "expected", "tokenizer.json"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	var out []hfCase
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c := hfCase{dir: filepath.Dir(filepath.Dir(file))}
		if err := json.Unmarshal(data, &c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out = append(out, c)
	}
	return out
}

// TestHFCases wants the ids, with and without special tokens, and the hash that the tokenizers library gives.
func TestHFCases(t *testing.T) {
	for _, c := range hfCases(t) {
		t.Run(filepath.Base(c.dir), func(t *testing.T) {
			tok, err := FromHF(c.dir)
			if err != nil {
				t.Fatal(err)
			}
			// The class that this directory names adds BOS, the library alone does not.
			byClass := filepath.Base(c.dir) == "DeepSeek-V3-Tiny-0324"
			for _, e := range c.Encode {
				if got := tok.Encode(e.text, true); !slices.Equal(got, e.plain) {
					t.Errorf("%q: %s", e.text, difference(tok, got, e.plain))
				}
				special := e.special
				if byClass {
					special = append([]int32{tok.vocab.bos}, e.special...)
				}
				if got := tok.EncodeWithSpecials(e.text); !slices.Equal(got, special) {
					t.Errorf("%q: %v, want %v", e.text, got, special)
				}
			}
			if _, hash, ok := PreTokenizerOf(tok); hash != c.ReducedHash && !byClass || ok {
				t.Errorf("hash %s (known: %v), want %s", hash, ok, c.ReducedHash)
			}
			// The whole vocabulary is not here, but its ids are.
			if hash := hashOfIDs(c.FullIDs); hash != c.FullHash {
				t.Errorf("ids of the whole vocabulary hash to %s, want %s", hash, c.FullHash)
			}
			if name := preTokenizerByHash()[c.FullHash]; c.Pre != nil && name != *c.Pre {
				t.Errorf("%s is %s, want %s", c.FullHash, name, *c.Pre)
			}
		})
	}
}
