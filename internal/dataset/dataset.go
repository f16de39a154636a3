// Package dataset reads training and evaluation data into token sequences with loss masks.
package dataset

import (
	"errors"

	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/tokenizer"
)

// Example is one token sequence.
type Example struct {
	IDs  []int32
	Loss []bool // token i is to be predicted; nil: every token but the first
}

// Options says how a file becomes examples.
type Options struct {
	SeqLen int // the most tokens an example may have

	TextField, PromptField, CompletionField string // "" = detect
}

// Set is the examples of one file.
type Set struct {
	Examples []Example
}

// Load reads a data file.
func Load(path string, tok *tokenizer.Tokenizer, opt Options) (*Set, error) {
	return nil, errors.ErrUnsupported
}

// Tokens is the number of tokens of all examples.
func (s *Set) Tokens() int { return 0 }

// Order is a shuffled order of the examples.
func (s *Set) Order(epoch int, seed uint64) []int { return nil }

// Batches packs examples greedily.
func (s *Set) Batches(order []int, batchTokens int) [][]int { return nil }

// Batch fills b with examples.
func (s *Set) Batch(b *batch.Batch, examples []int) {}
