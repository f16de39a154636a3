// Package batch holds token sequences for the decoder: packed end to end, never padded.
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
	Leads   []int32 // (S) the target before each sequence: its first token where that carries loss, or Ignore
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
	b.IDs, b.Pos, b.Bounds, b.Targets, b.Leads = b.IDs[:0], b.Pos[:0], b.Bounds[:0], b.Targets[:0], b.Leads[:0]
}

// Copy makes the batch another one, in memory of its own.
func (b *Batch) Copy(from *Batch) {
	b.Reset()
	b.IDs, b.Pos, b.Bounds = append(b.IDs, from.IDs...), append(b.Pos, from.Pos...), append(b.Bounds, from.Bounds...)
	b.Targets, b.Leads = append(b.Targets, from.Targets...), append(b.Leads, from.Leads...)
}

// Append adds one sequence. loss[i] says whether token i is predicted (from the tokens before it); token 0 is
// predicted only where virtual tokens come before it. A nil loss means every token but the first. Virtual tokens have
// negative ids and are not predicted.
func (b *Batch) Append(ids []int32, loss []bool) {
	b.begin()
	lead := Ignore
	if len(ids) > 0 && ids[0] >= 0 && loss != nil && loss[0] {
		lead = ids[0]
	}
	b.Leads = append(b.Leads, lead)
	for i, id := range ids {
		b.IDs = append(b.IDs, id)
		b.Pos = append(b.Pos, int32(i))
		target := Ignore
		if i+1 < len(ids) && (loss == nil || loss[i+1]) && ids[i+1] >= 0 {
			target = ids[i+1]
		}
		b.Targets = append(b.Targets, target)
	}
	b.Bounds = append(b.Bounds, int32(len(b.IDs)))
}

// AppendClass adds one sequence whose last token predicts a class; no other token predicts anything.
func (b *Batch) AppendClass(ids []int32, class int32) {
	b.Append(ids, make([]bool, len(ids)))
	b.Targets[len(b.Targets)-1] = class
}

func (b *Batch) begin() {
	if len(b.Bounds) == 0 {
		b.Bounds = append(b.Bounds, 0)
	}
}

// Prepend puts n virtual tokens with the ids first, first-1 and so on before every sequence that wants accepts, at the
// positions where the sequence began. The last of them predicts the sequence's first token where that carries loss.
// wants may be nil: every sequence.
func (b *Batch) Prepend(n int, first int32, wants func(ids []int32) bool) {
	var out Batch
	out.begin()
	for s := range b.Sequences() {
		from, to := b.Bounds[s], b.Bounds[s+1]
		lead := b.Leads[s]
		shift := int32(0)
		if wants == nil || wants(b.IDs[from:to]) {
			shift = int32(n)
			for j := range shift {
				out.IDs = append(out.IDs, first-j)
				out.Pos = append(out.Pos, b.Pos[from]+j)
				out.Targets = append(out.Targets, Ignore)
			}
			out.Targets[len(out.Targets)-1], lead = lead, Ignore
		}
		out.IDs = append(out.IDs, b.IDs[from:to]...)
		out.Targets = append(out.Targets, b.Targets[from:to]...)
		for _, p := range b.Pos[from:to] {
			out.Pos = append(out.Pos, p+shift)
		}
		out.Bounds = append(out.Bounds, int32(len(out.IDs)))
		out.Leads = append(out.Leads, lead)
	}
	*b = out
}

// Window is up to n neighbouring tokens, the first of those with the most targets; sequences are cut. Where it is all
// of b it is a copy.
func (b *Batch) Window(n int) *Batch {
	n = min(n, b.Tokens())
	best, from, count := 0, 0, 0
	for i, target := range b.Targets {
		if target != Ignore {
			count++
		}
		if i >= n && b.Targets[i-n] != Ignore {
			count--
		}
		if count > best {
			best, from = count, max(i-n+1, 0)
		}
	}
	from = min(from, b.Tokens()-n)
	w := &Batch{}
	w.begin()
	for s := range b.Sequences() {
		first, end := max(int(b.Bounds[s]), from), min(int(b.Bounds[s+1]), from+n)
		if first >= end {
			continue
		}
		lead := b.Leads[s]
		if first > int(b.Bounds[s]) {
			lead = Ignore
		}
		w.IDs = append(w.IDs, b.IDs[first:end]...)
		w.Pos = append(w.Pos, b.Pos[first:end]...)
		w.Targets = append(w.Targets, b.Targets[first:end]...)
		w.Bounds, w.Leads = append(w.Bounds, int32(len(w.IDs))), append(w.Leads, lead)
	}
	return w
}

// Shift adds n to all positions.
func (b *Batch) Shift(n int) {
	for i := range b.Pos {
		b.Pos[i] += int32(n)
	}
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
