package attach

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/peftconv/peftconv/internal/dataset"
)

// Data is token sequences with loss masks, to train or evaluate on. It can be made from a file by LoadData, or by
// hand: Data{Examples: []Example{{IDs: ids}}}.
type Data = dataset.Set

// Example is one token sequence of a Data.
type Example = dataset.Example

// DataOptions says how a file becomes examples.
type DataOptions = dataset.Options

// Source is a file, a directory or standard input, with a weight.
type Source = dataset.Source

// LoadData reads sources in the vocabulary of a base, and holds a share of them back where the options say so;
// otherwise eval is nil. SeqLen 0 is 512, or less where the base was made for less.
func LoadData(sources []Source, b *Base, opt DataOptions) (train, eval *Data, err error) {
	spec := &b.Model.Spec
	if opt.SeqLen == 0 {
		opt.SeqLen = 512
		if spec.Context > 0 {
			opt.SeqLen = min(opt.SeqLen, spec.Context)
		}
	}
	if opt.VocabSize == 0 {
		opt.VocabSize = spec.Vocab
	}
	if opt.Cache.Keep {
		if opt.Cache.Vocabulary, err = b.vocabularyHash(); err != nil {
			return nil, nil, err
		}
	}
	return dataset.LoadSplit(sources, b.Tokenizer, opt)
}

// vocabularyHash is a hash of all that says how a text becomes token ids.
func (b *Base) vocabularyHash() (string, error) {
	h := sha256.New()
	if b.GGUF != nil {
		for key, value := range b.GGUF.Meta.All() {
			if !strings.HasPrefix(key, "tokenizer.") {
				continue
			}
			text, err := json.Marshal(value)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(h, "%s=%s\x00", key, text)
		}
		return hex.EncodeToString(h.Sum(nil)), nil
	}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json"} {
		text, err := os.ReadFile(filepath.Join(b.Path, name))
		if err != nil && !os.IsNotExist(err) {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\x00%s", name, len(text), text)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
