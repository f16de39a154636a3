package lowrank

import (
	"math"
	"slices"

	"github.com/peftconv/peftconv/internal/linalg"
	"github.com/peftconv/peftconv/kernels"
)

// LowRank is a change of low rank of one weight: ΔW (out, in) = scale·B·A.
type LowRank struct {
	Module        string    // the linear map, where there is one
	A, B          []float32 // (rank, in), (out, rank)
	Rank, In, Out int
	Scale         float64
}

// Padded is the same change with a higher rank.
func (l *LowRank) Padded(rank int) LowRank {
	p := *l
	p.Rank = rank
	p.A = append(slices.Clone(l.A), make([]float32, (rank-l.Rank)*l.In)...)
	p.B = make([]float32, l.Out*rank)
	for r := range l.Out {
		copy(p.B[r*rank:], l.B[r*l.Rank:(r+1)*l.Rank])
	}
	return p
}

// InLeft is the pair with B = u·diag(s), A = vt.
func InLeft(like *LowRank, u, s, vt []float32, rank int) LowRank {
	k := len(s)
	l := LowRank{Module: like.Module, Rank: rank, In: like.In, Out: like.Out, Scale: 1}
	l.A, l.B = make([]float32, rank*l.In), make([]float32, l.Out*rank)
	copy(l.A, vt)
	for i := range l.Out {
		for j := range min(rank, k) {
			l.B[i*rank+j] = u[i*k+j] * s[j]
		}
	}
	return l
}

// InBoth is the pair with the root of each singular value in either matrix, computed in float32: B = u·diag(√s) and
// A = diag(√s)·vt of u (out, k), s (k) and vt (k, in), which it overwrites.
func InBoth(u, s, vt []float32, out, in int) LowRank {
	k := len(s)
	for j, v := range s {
		root := float32(math.Sqrt(float64(v)))
		kernels.Scale(root, vt[j*in:(j+1)*in])
		for i := range out {
			u[i*k+j] *= root
		}
	}
	return LowRank{A: vt, B: u, Rank: k, In: in, Out: out, Scale: 1}
}

// Narrowed is x as float32; Widened is the inverse.
func Narrowed(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}

// Inner is ⟨ΔW, ΔW'⟩, the sum of the products of the entries, of two changes of one weight.
func (l *LowRank) Inner(o *LowRank) float64 {
	bb, aa := make([]float32, l.Rank*o.Rank), make([]float32, l.Rank*o.Rank)
	kernels.Gemm(true, false, l.Rank, o.Rank, l.Out, 1, l.B, l.Rank, o.B, o.Rank, 0, bb, o.Rank)
	kernels.Gemm(false, true, l.Rank, o.Rank, l.In, 1, l.A, l.In, o.A, o.In, 0, aa, o.Rank)
	sum := 0.0
	for i, x := range bb {
		sum += float64(x) * float64(aa[i])
	}
	return l.Scale * o.Scale * sum
}

// Dense is the change itself.
func (l *LowRank) Dense() []float32 {
	d := make([]float32, l.Out*l.In)
	kernels.Gemm(false, false, l.Out, l.In, l.Rank, float32(l.Scale), l.B, l.Rank, l.A, l.In, 0, d, l.In)
	return d
}

// SVD is the change as u (out, k), s (k) descending and vt (k, in), found in the space of the factors alone: with
// B = Q₁·R₁ and Aᵀ = Q₂·R₂ it is that of the small matrix R₁·R₂ᵀ.
func (l *LowRank) SVD() (u, s, vt []float64) {
	qb, rb := linalg.QR(Widened(l.B), l.Out, l.Rank)
	qa, ra := linalg.QR(linalg.Transpose(Widened(l.A), l.Rank, l.In), l.In, l.Rank)
	m, n := min(l.Out, l.Rank), min(l.In, l.Rank)
	u1, s, vt1 := linalg.SVD(linalg.Multiply(rb, linalg.Transpose(ra, n, l.Rank), m, l.Rank, n), m, n)
	k := len(s)
	for i := range s {
		s[i] *= math.Abs(l.Scale)
	}
	if l.Scale < 0 {
		for i := range u1 {
			u1[i] = -u1[i]
		}
	}
	return linalg.Multiply(qb, u1, l.Out, m, k), s, linalg.Multiply(vt1, linalg.Transpose(qa, l.In, n), k, n, l.In)
}

// Truncated is the change with its largest singular values alone, each with its root in both factors.
func (l *LowRank) Truncated(u, s, vt []float64, rank int) LowRank {
	k := len(s)
	t := LowRank{Module: l.Module, Rank: rank, In: l.In, Out: l.Out, Scale: 1}
	t.A, t.B = make([]float32, rank*l.In), make([]float32, l.Out*rank)
	for j := range min(rank, k) {
		root := math.Sqrt(s[j])
		for i := range l.Out {
			t.B[i*rank+j] = float32(root * u[i*k+j])
		}
		for i := range l.In {
			t.A[j*l.In+i] = float32(root * vt[j*l.In+i])
		}
	}
	return t
}

// Approximation says how Nearest looks for a pair.
type Approximation struct {
	Rank       int     // of the pair; with an energy the highest
	Energy     float64 // > 0: the lowest rank that keeps this share of the squares is enough
	Squares    float64 // the sum of all squares, for an energy
	Iterations int     // of the search for singular vectors; 0 is 4
	Seed       uint64
}

// Nearest is the pair that comes nearest to a change (out, in) of a weight, by random projection (linalg.TruncatedSVD).
// For an energy it tries twice the rank until there is enough.
func Nearest(module string, change []float32, out, in int, a Approximation) LowRank {
	rank := a.Rank
	if a.Energy > 0 {
		rank = min(rank, 16)
	}
	for {
		u, s, vt := linalg.TruncatedSVD(linalg.Matrix(change, out, in),
			linalg.Projection{Rank: rank, Iterations: a.Iterations, Seed: a.Seed})
		values := Widened(s)
		kept := 0.0
		for _, v := range values {
			kept += v * v
		}
		if rank == a.Rank || kept >= a.Energy*a.Squares {
			like := LowRank{Module: module, In: in, Out: out}
			return like.Truncated(Widened(u), values, Widened(vt), a.choose(values))
		}
		rank = min(a.Rank, 2*rank)
	}
}

// choose is the rank of the pair, whose singular values are s, descending. It is 1 at least.
func (a *Approximation) choose(s []float64) int {
	limit := min(len(s), a.Rank)
	if a.Energy == 0 {
		return max(1, limit)
	}
	rank, kept := 0, 0.0
	for ; rank < limit && kept < a.Energy*a.Squares*(1-1e-12); rank++ {
		kept += s[rank] * s[rank]
	}
	return max(1, rank)
}

// Stacked is the sum of changes of one weight, as one change whose rank is the sum of theirs.
func Stacked(list []LowRank, factors []float64) LowRank {
	sum := LowRank{Module: list[0].Module, In: list[0].In, Out: list[0].Out, Scale: 1}
	for _, l := range list {
		sum.Rank += l.Rank
	}
	sum.B = make([]float32, sum.Out*sum.Rank)
	at := 0
	for i, l := range list {
		part := slices.Clone(l.A)
		kernels.Scale(float32(factors[i]), part)
		sum.A = append(sum.A, part...)
		for r := range l.Out {
			copy(sum.B[r*sum.Rank+at:], l.B[r*l.Rank:(r+1)*l.Rank])
		}
		at += l.Rank
	}
	return sum
}

// Widened is x in float64.
func Widened(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}
