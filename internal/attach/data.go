package attach

import (
	"github.com/peftconv/peftconv/internal/dataset"
)

// Data is token sequences with loss masks, to train or evaluate on. It can be made from a file by LoadData, or by
// hand: Data{Examples: []Example{{IDs: ids}}}.
type Data = dataset.Set

// Example is one token sequence of a Data.
type Example = dataset.Example

// DataOptions says how a file becomes examples.
type DataOptions = dataset.Options

// LoadData reads a .txt or .jsonl file, plain or compressed, in the vocabulary of a base. SeqLen 0 is 512, or less
// where the base was made for less.
func LoadData(path string, b *Base, opt DataOptions) (*Data, error) {
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
	return dataset.Load(path, b.Tokenizer, opt)
}
