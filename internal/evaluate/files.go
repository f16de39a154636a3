package evaluate

import (
	"slices"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
)

// FileResult is the loss on the examples of one file: peft.FileLoss.
type FileResult struct {
	Path     string
	Loss     float64
	Tokens   int
	Examples int
	Accuracy *float64
}

// fileSums adds losses up by the files that examples are of; nil where they are of one, or it is not known.
type fileSums struct {
	set  *attach.Data
	sums []fileSum // of each file
}

// fileSum is what was added up of a file.
type fileSum struct {
	loss                    float64
	tokens, examples, right int
}

func newFileSums(set *attach.Data) *fileSums {
	if len(set.Files) < 2 {
		return nil
	}
	return &fileSums{set, make([]fileSum, len(set.Files))}
}

// add adds what was measured of an example; right says whether its label was found.
func (f *fileSums) add(example int, loss float64, tokens int, right bool) {
	if f == nil {
		return
	}
	at, _ := slices.BinarySearchFunc(f.set.Files, example+1, func(file attach.File, n int) int { return file.End - n })
	s := &f.sums[at]
	s.loss += loss
	s.tokens += tokens
	s.examples++
	if right {
		s.right++
	}
}

// addBatch adds the losses of all targets of a batch of examples, in order.
func (f *fileSums) addBatch(examples []int, packed *batch.Batch, losses []float32) {
	if f == nil {
		return
	}
	for i, example := range examples {
		sum, tokens := 0.0, 0
		for _, target := range packed.Targets[packed.Bounds[i]:packed.Bounds[i+1]] {
			if target != batch.Ignore {
				sum += float64(losses[tokens])
				tokens++
			}
		}
		losses = losses[tokens:]
		f.add(example, sum, tokens, false)
	}
}

// results are the means; files without targets are left out.
func (f *fileSums) results() (out []FileResult) {
	if f == nil {
		return nil
	}
	for i, s := range f.sums {
		if s.tokens == 0 {
			continue
		}
		r := FileResult{Path: f.set.Files[i].Path, Loss: s.loss / float64(s.tokens), Tokens: s.tokens, Examples: s.examples}
		if f.set.Classes > 0 {
			accuracy := float64(s.right) / float64(s.examples)
			r.Accuracy = &accuracy
		}
		out = append(out, r)
	}
	return out
}
