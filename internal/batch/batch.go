// Package batch is the shape in which token sequences reach the decoder: packed end to end, never padded.
package batch

import "fmt"

// Ignore is the target of a position that carries no loss.
const Ignore int32 = -1

// Batch holds the T tokens of S sequences, end to end.
type Batch struct {
	IDs     []int32 // (T) token ids
	Pos     []int32 // (T) position of each token in its own sequence
	Bounds  []int32 // (S+1) sequence s is tokens Bounds[s] to Bounds[s+1]
	Targets []int32 // (T) the token each position has to predict, or Ignore; nil where no loss is wanted
}

// Tokens is T, the number of tokens of all sequences.
func (b *Batch) Tokens() int { return len(b.IDs) }

// Sequences is S.
func (b *Batch) Sequences() int { return max(len(b.Bounds)-1, 0) }

// TargetCount is the number of positions that carry loss.
func (b *Batch) TargetCount() int {
	n := 0
	for _, t := range b.Targets {
		if t != Ignore {
			n++
		}
	}
	return n
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	b.IDs, b.Pos, b.Bounds, b.Targets = b.IDs[:0], b.Pos[:0], b.Bounds[:0], b.Targets[:0]
}

// Append adds one sequence. loss[i] says whether token i is to be predicted (from the tokens before it);
// token 0 never is. A nil loss means every token but the first.
func (b *Batch) Append(ids []int32, loss []bool) {
	if len(b.Bounds) == 0 {
		b.Bounds = append(b.Bounds, 0)
	}
	for i, id := range ids {
		b.IDs = append(b.IDs, id)
		b.Pos = append(b.Pos, int32(i))
		target := Ignore
		if i+1 < len(ids) && (loss == nil || loss[i+1]) {
			target = ids[i+1]
		}
		b.Targets = append(b.Targets, target)
	}
	b.Bounds = append(b.Bounds, int32(len(b.IDs)))
}

// Check reports an id or a target outside a vocabulary of the given size.
func (b *Batch) Check(vocab int) error {
	for i, id := range b.IDs {
		if id < 0 || int(id) >= vocab {
			return fmt.Errorf("token %d of the batch has id %d, beyond the vocabulary of %d", i, id, vocab)
		}
	}
	for i, id := range b.Targets {
		if id != Ignore && (id < 0 || int(id) >= vocab) {
			return fmt.Errorf("target %d of the batch has id %d, beyond the vocabulary of %d", i, id, vocab)
		}
	}
	return nil
}
