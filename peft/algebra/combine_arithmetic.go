package algebra

import (
	"fmt"
	"math"
	"slices"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/linalg"
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/kernels"
)

// sideBySide stacks the pairs. The rank is that of the result, as PEFT's is: unused ranks are zero.
func (c *combiner) sideBySide(parts []lowPart) lowrank.LowRank {
	list, factors := make([]lowrank.LowRank, len(parts)), make([]float64, len(parts))
	for i, p := range parts {
		list[i], factors[i] = p.LowRank, p.weight*p.Scale
	}
	l := lowrank.Stacked(list, factors)
	return l.Padded(c.rank)
}

// svdFactor is what an _svd type multiplies an adapter's change by.
func (c *combiner) svdFactor(p *lowPart) float64 {
	if c.opt.ScaleOnce {
		return p.weight
	}
	return p.weight * p.Scale
}

// cutSum is the weighted sum cut to the rank. No matrix of the weight's size is made.
func (c *combiner) cutSum(parts []lowPart) lowrank.LowRank {
	list, factors := make([]lowrank.LowRank, len(parts)), make([]float64, len(parts))
	for i := range parts {
		list[i], factors[i] = parts[i].LowRank, parts[i].Scale*c.svdFactor(&parts[i])
	}
	sum := lowrank.Stacked(list, factors)
	u, s, vt := sum.SVD()
	rank := min(c.rank, sum.In, sum.Out)
	return lowrank.InLeft(&sum, lowrank.Narrowed(u), lowrank.Narrowed(s), lowrank.Narrowed(vt), rank)
}

// cutDense combines the changes themselves and cuts the result to the rank.
func (c *combiner) cutDense(parts []lowPart) lowrank.LowRank {
	first := &parts[0]
	tensors, weights := make([][]float32, len(parts)), make([]float32, len(parts))
	for i := range parts {
		p := &parts[i]
		tensors[i], weights[i] = p.Dense(), float32(c.svdFactor(p))
		c.prune(tensors[i], p.input, p.Module)
	}
	c.mix(tensors[0], tensors, weights)
	rank := min(c.rank, first.In, first.Out)
	u, s, vt := linalg.TruncatedSVD(linalg.Matrix(tensors[0], first.Out, first.In),
		linalg.Projection{Rank: rank, Oversample: max(16, rank), Iterations: 8, Seed: c.opt.Seed})
	return lowrank.InLeft(&first.LowRank, u, s, vt, rank)
}

// ofFactors combines the A matrices and, apart from them, the B matrices. The root of weight and scale goes to both,
// the sign to A.
func (c *combiner) ofFactors(parts []lowPart) (lowrank.LowRank, error) {
	l := lowrank.LowRank{Module: parts[0].Module, Rank: parts[0].Rank, In: parts[0].In, Out: parts[0].Out, Scale: 1}
	var as, bs [][]float32
	var wa, wb []float32
	for _, p := range parts {
		if p.Rank != l.Rank {
			return l, fmt.Errorf("the adapters have it in ranks %d and %d: %s and the _svd types take any", l.Rank,
				p.Rank, CombineCat)
		}
		factor := p.weight * p.Scale
		root := math.Sqrt(math.Abs(factor))
		wa, wb = append(wa, float32(math.Copysign(root, factor))), append(wb, float32(root))
		a, b := slices.Clone(p.A), slices.Clone(p.B)
		c.prune(a, p.input, attach.LoRAName(p.Module, "A"))
		c.prune(b, p.input, attach.LoRAName(p.Module, "B"))
		as, bs = append(as, a), append(bs, b)
	}
	l.A, l.B = as[0], bs[0]
	c.mix(l.A, as, wa)
	c.mix(l.B, bs, wb)
	return l, nil
}

// pruning is which values of a tensor are set to zero.
type pruning int

const (
	pruneNone pruning = iota
	pruneMagnitude
	pruneRandom
)

// prune sets all but a share of the values to zero.
func (c *combiner) prune(x []float32, input int, name string) {
	if c.opt.Density >= 1 {
		return
	}
	switch c.recipe.prune {
	case pruneMagnitude:
		keepLargest(x, int(c.opt.Density*float64(len(x))))
	case pruneRandom:
		dropRandomly(x, c.opt.Density, prng.NewRandom(c.opt.Seed, fmt.Sprint(input, " ", name)))
	}
}

// dropRandomly keeps each value with the probability of density, divided by it.
func dropRandomly(x []float32, density float64, r *prng.Random) {
	for i := range x {
		if r.Float() < density {
			x[i] /= float32(density)
		} else {
			x[i] = 0
		}
	}
}

// keepLargest sets all but the k values of largest magnitude to zero; of equal ones the first are kept.
func keepLargest(x []float32, k int) {
	least, ties := selectLargest(x, k)
	for i, v := range x {
		switch bits := magnitude(v); {
		case bits < least:
			x[i] = 0
		case bits == least:
			if ties == 0 {
				x[i] = 0
			} else {
				ties--
			}
		}
	}
}

// magnitude is the bits of |v|, which are in the order of the values.
func magnitude(v float32) uint32 { return math.Float32bits(v) &^ (1 << 31) }

// selectLargest finds the magnitude of the k-th largest value, and how many of that magnitude are among the k largest.
func selectLargest(x []float32, k int) (least uint32, ties int) {
	if k == 0 {
		return math.MaxUint32, 0
	}
	left := k
	high, left := digit(x, left, func(m uint32) (int, bool) { return int(m >> 16), true })
	low, left := digit(x, left, func(m uint32) (int, bool) { return int(m & 0xffff), int(m>>16) == high })
	return uint32(high)<<16 | uint32(low), left
}

// digit finds half of the bits of the k-th largest magnitude, and the rank of that magnitude among those that share
// them.
func digit(x []float32, k int, half func(uint32) (int, bool)) (value, left int) {
	count := make([]int, 1<<16)
	for _, v := range x {
		if h, ok := half(magnitude(v)); ok {
			count[h]++
		}
	}
	value = len(count) - 1
	for ; count[value] < k; value-- {
		k -= count[value]
	}
	return value, k
}

// mix sets dst, which may be one of the tensors, to their weighted sum or, where signs are elected, to the mean of the
// weighted values that have the elected sign.
func (c *combiner) mix(dst []float32, tensors [][]float32, weights []float32) {
	const piece = 1 << 14
	kernels.Parallel((len(dst)+piece-1)/piece, func(i int) {
		from, to := i*piece, min(len(dst), (i+1)*piece)
		switch {
		case !c.recipe.elect:
			weightedSum(dst, tensors, weights, from, to)
		case c.opt.MajoritySign == MajorityFrequency:
			disjointMean(dst, tensors, weights, from, to, sign)
		default:
			disjointMean(dst, tensors, weights, from, to, func(v float32) float32 { return v })
		}
	})
}

func weightedSum(dst []float32, tensors [][]float32, weights []float32, from, to int) {
	for i := from; i < to; i++ {
		sum := float32(0)
		for j, t := range tensors {
			sum += float32(weights[j] * t[i])
		}
		dst[i] = sum
	}
}

// disjointMean elects the sign of the sum of votes for each value.
func disjointMean(dst []float32, tensors [][]float32, weights []float32, from, to int, vote func(float32) float32) {
	for i := from; i < to; i++ {
		total := float32(0)
		for _, t := range tensors {
			total += vote(t[i])
		}
		elected := float32(1)
		if total < 0 {
			elected = -1
		}
		sum, n := float32(0), float32(0)
		for j, t := range tensors {
			if sign(t[i]) == elected {
				sum += float32(weights[j] * t[i])
				n++
			}
		}
		dst[i] = sum / max(n, 1)
	}
}

func sign(v float32) float32 {
	switch {
	case v > 0:
		return 1
	case v < 0:
		return -1
	}
	return 0
}
