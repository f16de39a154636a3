package export

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/linalg"
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/modelcard"
	"github.com/peftconv/peftconv/kernels"
)

// LoRAOptions says how LoRA writes.
type LoRAOptions struct {
	Type gguf.Type // of the matrices: F32, F16, BF16, or Q8_0 where rows fit (else F16); the zero value is F32
	// Rank of every pair at most. 0 is exact where the adapter's changes are of low rank, and where they are not the rank
	// at which 99 % of each change is kept.
	Rank int

	card    *modelcard.Card // which says what else the file says of the adapter and its base
	exact   bool            // F32 in the place of Type where scales are multiplied into B
	inOrder bool            // tensors stand in the order of those of the adapter's own file, not of the model
}

// LoRAReport says how much of an adapter's changes of weights is in a GGUF LoRA.
type LoRAReport struct {
	Tensors []ExportedTensor `json:"tensors"` // in the order of the model
	Error   float64          `json:"error"`   // over all tensors together, as ExportedTensor.Error
	Alpha   float64          `json:"alpha"`   // adapter.lora.alpha; 0: the scales are in B
	Type    string           `json:"type"`    // of the numbers, as far as rows fit
}

// ExportedTensor says it for one weight. With Δ the change asked for and Δ' the product of the pair:
type ExportedTensor struct {
	Name  string  `json:"name"` // in a GGUF file
	Rank  int     `json:"rank"`
	Error float64 `json:"error"` // |Δ'-Δ|/|Δ|: 0 where the pair is exact, but for rounding
}

// changeError is the highest error of a change that is not of low rank where LoRAOptions.Rank is 0.
const changeError = 0.01

// pairSums are the sums from which an error follows.
type pairSums struct{ want, miss float64 }

func (s pairSums) error() float64 {
	if s.want == 0 {
		return 0
	}
	return math.Sqrt(s.miss / s.want)
}

// exportsPairs reports whether the adapter has the pairs that are written.
func exportsPairs(a *attach.Adapter, opt LoRAOptions) bool {
	_, ok := methods.AsLoRA(a.Method)
	return ok && opt.Rank == 0 && a.Config.Quantized == nil
}

// pairsOf is what is written: a LoRA's own pairs, or what its changes of weights are cut down to.
func pairsOf(a *attach.Adapter, b *attach.Base, opt LoRAOptions) (*loraFile, error) {
	if !exportsPairs(a, opt) {
		return exportChanges(a, b, opt)
	}
	return exportPairs(a, b, opt.inOrder)
}

// exportChanges makes pairs of the changes of weights of an adapter of any method that has such: the factors of a
// change of low rank as they are, and of any other the pair that comes nearest (Eckart and Young 1936).
func exportChanges(a *attach.Adapter, b *attach.Base, opt LoRAOptions) (*loraFile, error) {
	bound, err := a.Bind(b)
	if err != nil {
		return nil, err
	}
	changes := bound.Changes()
	if changes == nil {
		return nil, fmt.Errorf("an adapter of method %s is no "+
			"change of weight matrices, which is all that a GGUF LoRA holds",
			a.Config.Method)
	}
	if changesVectors(bound) {
		return nil, errors.New("the adapter changes biases or norms too, which a GGUF LoRA does not hold: merge it")
	}
	file, found := newLoRAFile(b), 0
	for _, l := range b.Model.Linears() {
		c, ok := changes[l]
		if !ok {
			continue
		}
		if err := runs(b, l); err != nil {
			return nil, err
		}
		pair, sums := pairOf(l, &c, opt.Rank)
		found++
		if pair.Rank == 0 { // AdaLoRA has taken all ranks away
			continue
		}
		file.add(l, pair, false, sums)
	}
	if found < len(changes) {
		return nil, errors.New("the adapter changes the embedding table or the output head too: merge it")
	}
	return file, nil
}

// changesVectors reports whether an adapter changes vectors that are there.
func changesVectors(bound *attach.Bound) bool {
	changed := func(v attach.VectorChange) bool { return v.Change != nil || v.Base() != nil }
	return slices.ContainsFunc(bound.Vectors(), changed)
}

// pairOf is a change of a weight as a pair of a rank of no more than limit, which may be 0.
func pairOf(l *model.Linear, c *attach.Change, limit int) (lowrank.LowRank, pairSums) {
	if c.Exact != nil { // its pair is nearer even to the rounded change, whose rounding noise has a high rank
		pair, _ := pairOf(l, c.Exact, limit)
		return pair, compare(&pair, c)
	}
	out, in := l.W.Rows, l.W.Cols
	small := min(out, in)
	if c.Factors != nil {
		a, b, rank := c.Factors()
		if rank <= small && (limit == 0 || rank <= limit) {
			return lowrank.LowRank{A: a, B: b, Rank: rank, In: in, Out: out, Scale: 1}, pairSums{want: 1}
		}
		if limit == 0 {
			limit = small
		}
	}
	change := dense(l, c)
	if limit == 0 {
		return sufficient(change, out, in)
	}
	return nearest(change, out, in, min(limit, small))
}

// changedRows is how many rows of a change a thread makes at a time.
const changedRows = 16

// dense is a change, all of it.
func dense(l *model.Linear, c *attach.Change) []float32 {
	out, in := l.W.Rows, l.W.Cols
	change := make([]float32, out*in)
	kernels.Parallel((out+changedRows-1)/changedRows, func(i int) {
		r0, r1 := i*changedRows, min(out, (i+1)*changedRows)
		c.AddRows(change[r0*in:r1*in], r0, r1)
	})
	return change
}

// nearest is the nearest pair of a rank to a change (out, in).
func nearest(change []float32, out, in, rank int) (lowrank.LowRank, pairSums) {
	u, s, vt := linalg.TruncatedSVD(linalg.Matrix(change, out, in), linalg.Projection{Rank: rank})
	return inBoth(change, out, in, u, s, vt)
}

// inBoth is a pair of singular values and vectors, and what of a change it misses.
func inBoth(change []float32, out, in int, u, s, vt []float32) (lowrank.LowRank, pairSums) {
	pair := lowrank.InBoth(u, s, vt, out, in)
	left := slices.Clone(change)
	kernels.Gemm(false, false, out, in, pair.Rank, -1, pair.B, pair.Rank, pair.A, in, 1, left, in)
	return pair, pairSums{kernels.SumSquares(change), kernels.SumSquares(left)}
}

// allRanks is up to which size of a matrix all its singular values are found at once.
const allRanks = 256

// sufficient is the pair of the lowest rank whose error is no more than changeError. Ranks are tried upwards; where
// a third of what there can be is too little, the pair of a large matrix is the matrix itself and an identity.
func sufficient(change []float32, out, in int) (lowrank.LowRank, pairSums) {
	small := min(out, in)
	all := kernels.SumSquares(change)
	for rank := 32; small > allRanks && rank <= small/3; rank *= 3 {
		u, s, vt := linalg.TruncatedSVD(linalg.Matrix(change, out, in), linalg.Projection{Rank: rank})
		if k, ok := enough(s, all); ok {
			return inBoth(change, out, in, leading(u, out, len(s), k), s[:k], vt[:k*in])
		}
	}
	if small <= allRanks {
		u, s, vt := linalg.TruncatedSVD(linalg.Matrix(change, out, in), linalg.Projection{})
		k, _ := enough(s, all)
		return inBoth(change, out, in, leading(u, out, len(s), k), s[:k], vt[:k*in])
	}
	pair := lowrank.LowRank{A: change, B: identity(out), Rank: out, In: in, Out: out, Scale: 1}
	if in < out {
		pair.A, pair.B, pair.Rank = identity(in), change, in
	}
	return pair, pairSums{want: all}
}

// enough is how many of the largest singular values have all squares but changeError's share, and whether these do; it
// is one at least.
func enough(s []float32, all float64) (k int, ok bool) {
	left := all
	for k < len(s) && (k == 0 || left > changeError*changeError*all) {
		left -= float64(s[k]) * float64(s[k])
		k++
	}
	return k, left <= changeError*changeError*all
}

// leading is the first k columns of u (m, n).
func leading(u []float32, m, n, k int) []float32 {
	first := make([]float32, 0, m*k)
	for r := range m {
		first = append(first, u[r*n:][:k]...)
	}
	return first
}

// identity is the unit matrix of n rows.
func identity(n int) []float32 {
	x := make([]float32, n*n)
	for i := range n {
		x[i*n+i] = 1
	}
	return x
}

// compare measures a pair against a change.
func compare(p *lowrank.LowRank, c *attach.Change) (sums pairSums) {
	stats := make([]pairSums, p.Out)
	kernels.Parallel((p.Out+changedRows-1)/changedRows, func(i int) {
		r0, r1 := i*changedRows, min(p.Out, (i+1)*changedRows)
		change := make([]float32, (r1-r0)*p.In)
		c.AddRows(change, r0, r1)
		for r := r0; r < r1; r++ {
			row := change[(r-r0)*p.In:][:p.In]
			stats[r].want = kernels.SumSquares(row)
			lowrank.AddCombination(row, -1, p.B[r*p.Rank:(r+1)*p.Rank], p.A, p.In)
			stats[r].miss = kernels.SumSquares(row)
		}
	})
	for _, s := range stats {
		sums.want, sums.miss = sums.want+s.want, sums.miss+s.miss
	}
	return sums
}
