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

// vocabularies are those of the reference data that are of a supported kind.
var vocabularies = []string{"llama-spm", "phi-3", "llama-bpe", "gpt-2", "qwen2"}

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
				if back := tok.Decode(got); back != text {
					t.Errorf("%q decodes to %q", text, back)
				}
			}
		})
	}
}

func TestWordPieceIsRefused(t *testing.T) {
	_, err := FromGGUF(open(t, "tokenizers/ggml-vocab-bert-bge.gguf"))
	if err == nil || !strings.Contains(err.Error(), `"bert" (WordPiece)`) {
		t.Fatalf("error %v", err)
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
