package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/hfvocab"
	"github.com/peftconv/peftconv/internal/tokenizer"
	"github.com/peftconv/peftconv/internal/tokenizer/corpus"
)

// TestWrittenTokenizers writes the reference vocabularies, and those in the folder that PEFTCONV_VOCABULARIES names, as
// tokenizer.json. Hugging Face's library reads them and gives the ids that we give for that file. They are those of the
// GGUF file but for texts that the original normalizes, and those with </s>: llama.cpp takes that for a control token
// in every vocabulary, and strips less white space after it.
func TestWrittenTokenizers(t *testing.T) {
	needs(t)
	paths, err := filepath.Glob(filepath.Join(os.Getenv("PEFTCONV_VOCABULARIES"), "*.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"llama-spm", "phi-3", "llama-bpe", "gpt-2", "qwen2"} {
		paths = append(paths, reference(t, name))
	}
	texts := corpus.Texts(20_000, 3)
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f, err := gguf.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			dir := t.TempDir()
			_, err = hfvocab.WriteHF(f.Meta, func(name string, data []byte) error {
				return os.WriteFile(filepath.Join(dir, name), data, 0o666)
			})
			if err != nil {
				t.Skip(err)
			}
			theirs, failures := theirIDs(t, texts, job{"tokenizers", filepath.Join(dir, "tokenizer.json"), false})
			if failures[0] != "" {
				t.Fatal(failures[0])
			}
			written, err := tokenizer.FromHF(dir)
			if err != nil {
				t.Fatal(err)
			}
			compareIDs(t, "written", texts, theirs[0], func(text string) []int32 { return written.Encode(text, true) })
			source := open(t, path)
			var same []string
			var ids [][]int32
			for i, text := range texts {
				if norm.NFC.IsNormalString(text) && !strings.Contains(text, "</s>") {
					same, ids = append(same, text), append(ids, theirs[0][i])
				}
			}
			compareIDs(t, "GGUF", same, ids, func(text string) []int32 { return source.Encode(text, true) })
			t.Logf("%d of %d texts were compared with the GGUF file", len(same), len(texts))
		})
	}
}
