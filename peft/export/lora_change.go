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
	"github.com/peftconv/peftconv/kernels"
)

// LoRAOptions says how LoRA writes.
type LoRAOptions struct {
	Type gguf.Type // of the matrices, F32 or F16; the zero value is F32
	// Rank of every pair at most. 0 is exact where the adapter's changes are of low rank, and 32 where they are not.
	Rank int
}

// LoRAReport says how much of an adapter's changes of weights is in a GGUF LoRA.
type LoRAReport struct {
	Tensors []ExportedTensor `json:"tensors"` // in the order of the model
	Error   float64          `json:"error"`   // over all tensors together, as ExportedTensor.Error
}

// ExportedTensor says it for one weight. With Δ the change asked for and Δ' the product of the pair:
type ExportedTensor struct {
	Name  string  `json:"name"` // in a GGUF file
	Rank  int     `json:"rank"`
	Error float64 `json:"error"` // |Δ'-Δ|/|Δ|: 0 where the pair is exact, but for rounding
}

// changeRank is LoRAOptions.Rank where it is 0 and a change is not of low rank.
const changeRank = 32

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
	_, ok := a.Method.(*methods.LoRA)
	return ok && opt.Rank == 0 && a.Config.Grid == nil
}

// pairsOf lists what is written: a LoRA's own pairs, or what its changes of weights are cut down to.
func pairsOf(a *attach.Adapter, b *attach.Base, opt LoRAOptions) ([]exportPair, *LoRAReport, error) {
	if !exportsPairs(a, opt) {
		return exportChanges(a, b, opt)
	}
	pairs, err := exportPairs(a, b)
	report := &LoRAReport{}
	for _, p := range pairs {
		report.Tensors = append(report.Tensors, ExportedTensor{Name: p.tensor, Rank: p.rank})
	}
	return pairs, report, err
}

// exportChanges makes pairs of the changes of weights of an adapter of any method that has such: the factors of a
// change of low rank as they are, and of any other the pair that comes nearest (Eckart and Young 1936).
func exportChanges(a *attach.Adapter, b *attach.Base, opt LoRAOptions) ([]exportPair, *LoRAReport, error) {
	bound, err := a.Bind(b)
	if err != nil {
		return nil, nil, err
	}
	changes := bound.Changes()
	if changes == nil {
		return nil, nil, fmt.Errorf("an adapter of method %s is no change of weight matrices, which is all that a "+
			"GGUF LoRA holds",
			a.Config.Method)
	}
	if changesVectors(bound) {
		return nil, nil, errors.New("the adapter changes biases or norms too, which a GGUF LoRA does not hold: " +
			"merge it")
	}
	report, total := &LoRAReport{}, pairSums{}
	var pairs []exportPair
	found := 0
	for _, l := range b.Model.Linears() {
		c, ok := changes[l]
		if !ok {
			continue
		}
		pair, sums := pairOf(l, &c, opt.Rank)
		name, heads := b.Model.InGGUF(l)
		found++
		if pair.rank == 0 { // AdaLoRA has taken all ranks away
			continue
		}
		if heads > 0 && l.PermutedHeads == 0 {
			pair.permute(heads)
		}
		pair.tensor = name
		pairs = append(pairs, pair)
		total.want, total.miss = total.want+sums.want, total.miss+sums.miss
		report.Tensors = append(report.Tensors, ExportedTensor{Name: name, Rank: pair.rank, Error: sums.error()})
	}
	if found < len(changes) {
		return nil, nil, errors.New("the adapter changes the embedding table or the output head too: merge it")
	}
	report.Error = total.error()
	return pairs, report, nil
}

// changesVectors reports whether an adapter changes vectors that are there.
func changesVectors(bound *attach.Bound) bool {
	changed := func(v attach.VectorChange) bool { return v.Change != nil || v.Base() != nil }
	return slices.ContainsFunc(bound.Vectors(), changed)
}

// pairOf is a change of a weight as a pair of a rank of no more than limit, which may be 0.
func pairOf(l *model.Linear, c *attach.Change, limit int) (exportPair, pairSums) {
	if c.Exact != nil { // the pair of what was rounded to the grid is nearer than one of the noise, too
		pair, _ := pairOf(l, c.Exact, limit)
		return pair, pair.compare(c)
	}
	out, in := l.W.Rows, l.W.Cols
	small := min(out, in)
	if c.Factors != nil {
		left, right, rank := c.Factors()
		if rank <= small && (limit == 0 || rank <= limit) {
			return exportPair{a: left, b: right, aRows: rank, rank: rank, in: in, out: out}, pairSums{want: 1}
		}
		if limit == 0 {
			limit = small
		}
	}
	if limit == 0 {
		limit = changeRank
	}
	return cutPair(l, c, min(limit, small))
}

// changedRows is how many rows of a change a thread makes at a time.
const changedRows = 16

// cutPair is the nearest pair of a rank.
func cutPair(l *model.Linear, c *attach.Change, rank int) (exportPair, pairSums) {
	out, in := l.W.Rows, l.W.Cols
	change := make([]float32, out*in)
	kernels.Parallel((out+changedRows-1)/changedRows, func(i int) {
		r0, r1 := i*changedRows, min(out, (i+1)*changedRows)
		c.AddRows(change[r0*in:r1*in], r0, r1)
	})
	u, s, vt := linalg.TruncatedSVD(linalg.Matrix(change, out, in), linalg.Projection{Rank: rank})
	rank = len(s)
	sums := pairSums{want: kernels.SumSquares(change)}
	for k, v := range s { // the square root of each singular value goes to either side
		root := float32(math.Sqrt(float64(v)))
		kernels.Scale(root, vt[k*in:(k+1)*in])
		for r := range out {
			u[r*rank+k] *= root
		}
	}
	kernels.Gemm(false, false, out, in, rank, -1, u, rank, vt, in, 1, change, in)
	sums.miss = kernels.SumSquares(change)
	return exportPair{a: vt, b: u, aRows: rank, rank: rank, in: in, out: out}, sums
}

// compare measures the pair against a change.
func (p *exportPair) compare(c *attach.Change) (sums pairSums) {
	stats := make([]pairSums, p.out)
	kernels.Parallel((p.out+changedRows-1)/changedRows, func(i int) {
		r0, r1 := i*changedRows, min(p.out, (i+1)*changedRows)
		change := make([]float32, (r1-r0)*p.in)
		c.AddRows(change, r0, r1)
		for r := r0; r < r1; r++ {
			row := change[(r-r0)*p.in:][:p.in]
			stats[r].want = kernels.SumSquares(row)
			lowrank.AddCombination(row, -1, p.b[r*p.rank:(r+1)*p.rank], p.a, p.in)
			stats[r].miss = kernels.SumSquares(row)
		}
	})
	for _, s := range stats {
		sums.want, sums.miss = sums.want+s.want, sums.miss+s.miss
	}
	return sums
}

// permute puts the rows of b in the order that a GGUF file has them in.
func (p *exportPair) permute(heads int) {
	src := []attach.Param{{Shape: []int{p.out, p.rank}, Data: p.b}}
	dst := attach.Views(src, make([]float32, len(p.b)))
	attach.ToBase(dst, src, []attach.Permutation{{Param: 0, Heads: heads}})
	p.b = dst[0].Data
}
