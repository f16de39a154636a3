package tokenizer

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/internal/tokenizer/corpus"
)

// open is the metadata of a reference file.
func open(t testing.TB, name string) *gguf.Metadata {
	t.Helper()
	f, err := gguf.Open(testdata.Shared(t, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f.Meta
}

func load(t testing.TB, name string) *Tokenizer {
	t.Helper()
	tok, err := FromGGUF(open(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// vocabularies are those of the reference data.
var vocabularies = []string{"llama-spm", "phi-3", "llama-bpe", "gpt-2", "qwen2", "bert-bge"}

// The reference tokenizers' own texts and ids.
func TestGolden(t *testing.T) {
	for _, name := range vocabularies {
		t.Run(name, func(t *testing.T) {
			path := testdata.Shared(t, "tokenizers/ggml-vocab-"+name+".gguf")
			tok := load(t, "tokenizers/ggml-vocab-"+name+".gguf")
			in, err := os.ReadFile(path + ".inp")
			if err != nil {
				t.Fatal(err)
			}
			out, err := os.ReadFile(path + ".out")
			if err != nil {
				t.Fatal(err)
			}
			const end = "\n__ggml_vocab_test__\n"
			texts := strings.Split(strings.TrimSuffix(string(in), end), end)
			lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
			if len(texts) != len(lines) {
				t.Fatalf("%d texts, %d lines of ids", len(texts), len(lines))
			}
			for i, text := range texts {
				var want []int32
				for word := range strings.FieldsSeq(lines[i]) {
					id, err := strconv.Atoi(word)
					if err != nil {
						t.Fatal(err)
					}
					want = append(want, int32(id))
				}
				got := tok.Encode(text, false)
				if !slices.Equal(got, want) {
					t.Errorf("%q\n got %v\nwant %v", text, got, want)
				}
				if back := tok.Decode(got); back != text && tok.Kind() != WordPiece {
					t.Errorf("%q decodes to %q", text, back)
				}
			}
		})
	}
}

// TestPreTokenizers wants of every pre-tokenizer, on the vocabulary of GPT-2, the ids that llama.cpp gave for some
// hundreds of texts: testdata/pretokenizers.txt has their hashes. (integration compares the ids themselves.)
func TestPreTokenizers(t *testing.T) {
	meta := open(t, "tokenizers/ggml-vocab-gpt-2.gguf")
	var hashes strings.Builder
	texts := corpus.Texts(300, 3)
	for _, name := range PreTokenizers() {
		tok := from(t, metadata(t, meta.Clone(), map[string]any{keyPre: name}))
		var ids []int32
		for _, text := range texts {
			ids = append(append(ids, tok.Encode(text, true)...), -1)
		}
		fmt.Fprintf(&hashes, "%s %s\n", name, hashOfIDs(ids)[:16])
	}
	want, err := os.ReadFile("testdata/pretokenizers.txt")
	if err != nil {
		t.Fatal(err)
	}
	if hashes.String() != string(want) {
		t.Errorf("hashes\n%s, want\n%s", hashes.String(), want)
	}
}

func BenchmarkEncode(b *testing.B) {
	shakespeare, err := os.ReadFile(testdata.Shared(b, "text/tinyshakespeare.txt"))
	if err != nil {
		b.Fatal(err)
	}
	text := string(shakespeare[:1<<20])
	spaceless := strings.Map(func(r rune) rune {
		if r < 'A' {
			return -1
		}
		return r
	}, string(shakespeare))
	texts := []struct{ name, text string }{
		{"text", text}, {"spaceless", spaceless}, {"letter", strings.Repeat("a", 1<<20)},
		{"spaces", strings.Repeat(" ", 1<<20)},
	}
	for _, name := range vocabularies {
		tok := load(b, "tokenizers/ggml-vocab-"+name+".gguf")
		for _, c := range texts {
			b.Run(fmt.Sprintf("%s/%s", name, c.name), func(b *testing.B) {
				b.SetBytes(int64(len(c.text)))
				for b.Loop() {
					tok.init() // an empty cache, as the first text finds it
					tok.Encode(c.text, true)
				}
			})
		}
	}
}

func BenchmarkFromGGUF(b *testing.B) {
	for _, name := range vocabularies {
		meta := open(b, "tokenizers/ggml-vocab-"+name+".gguf")
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := FromGGUF(meta); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
