package peft

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/linalg"
	"github.com/peftconv/peftconv/kernels"
)

// lowRank is a change of one linear map: ΔW (out, in) = scale·B·A.
type lowRank struct {
	module        string
	a, b          []float32 // (rank, in), (out, rank)
	rank, in, out int
	scale         float64
}

// lowRanks takes a LoRA apart, in the order of the modules' names. An adapter that is no LoRA, or one that has more than
// pairs of matrices (magnitudes, whole tensors), is an error that names what it has.
func (a *Adapter) lowRanks() ([]lowRank, error) {
	if a.Config.Method != MethodLoRA {
		return nil, fmt.Errorf("the adapter's method is %s, expected %s", a.Config.Method, MethodLoRA)
	}
	at := map[string]*lowRank{}
	var names []string
	for i := range a.params {
		p := &a.params[i]
		module, which, ok := parseLoRAName(p.Name)
		if !ok {
			return nil, fmt.Errorf("tensor %q is no lora_A or lora_B of a linear map: only plain LoRAs can be calculated with", p.Name)
		}
		l := at[module]
		if l == nil {
			l = &lowRank{module: module, scale: a.Config.scaleOf(module)}
			at[module] = l
			names = append(names, module)
		}
		if which == "A" {
			l.a, l.rank, l.in = p.Data, p.Rows(), p.Cols()
		} else {
			l.b, l.out = p.Data, p.Rows()
		}
	}
	slices.Sort(names)
	list := make([]lowRank, len(names))
	for i, name := range names {
		list[i] = *at[name]
	}
	return list, nil
}

// newLowRank makes a LoRA of pairs whose scales are 1. Its rank is the configuration's, its alpha the same, and pairs of
// another rank are in the rank and alpha patterns.
func newLowRank(c Config, o Origin, list []lowRank) (*Adapter, error) {
	c.Method, c.Alpha, c.RSLoRA, c.Init = MethodLoRA, float64(c.Rank), false, InitKaiming
	c.RankPattern, c.AlphaPattern = nil, nil
	shapes := map[string][]int{}
	for _, l := range list {
		shapes[loraName(l.module, "A")] = []int{l.rank, l.in}
		shapes[loraName(l.module, "B")] = []int{l.out, l.rank}
		if l.rank == c.Rank {
			continue
		}
		if c.RankPattern == nil {
			c.RankPattern, c.AlphaPattern = map[string]int{}, map[string]float64{}
		}
		c.RankPattern[l.module], c.AlphaPattern[l.module] = l.rank, float64(l.rank)
	}
	o.Version, o.Training = Version, nil
	a := &Adapter{Config: c, Origin: o}
	a.allocate(shapes)
	values := map[string][]float32{}
	for _, l := range list {
		values[loraName(l.module, "A")], values[loraName(l.module, "B")] = l.a, l.b
	}
	for i := range a.params {
		copy(a.params[i].Data, values[a.params[i].Name])
		if j := firstNonFinite(a.params[i].Data); j >= 0 {
			return nil, fmt.Errorf("tensor %q: value %d became %v", a.params[i].Name, j, a.params[i].Data[j])
		}
	}
	var err error
	a.method, err = newMethod(&a.Config, a.params)
	return a, err
}

// inner is ⟨ΔW, ΔW'⟩, the sum of the products of the entries, of two changes of one weight.
func (l *lowRank) inner(o *lowRank) float64 {
	bb, aa := make([]float32, l.rank*o.rank), make([]float32, l.rank*o.rank)
	kernels.Gemm(true, false, l.rank, o.rank, l.out, 1, l.b, l.rank, o.b, o.rank, 0, bb, o.rank)
	kernels.Gemm(false, true, l.rank, o.rank, l.in, 1, l.a, l.in, o.a, o.in, 0, aa, o.rank)
	sum := 0.0
	for i, x := range bb {
		sum += float64(x) * float64(aa[i])
	}
	return l.scale * o.scale * sum
}

// dense is the change itself.
func (l *lowRank) dense() []float32 {
	d := make([]float32, l.out*l.in)
	kernels.Gemm(false, false, l.out, l.in, l.rank, float32(l.scale), l.b, l.rank, l.a, l.in, 0, d, l.in)
	return d
}

// svd is the change as u (out, k), s (k) descending and vt (k, in), found in the space of the factors alone: with
// B = Q₁·R₁ and Aᵀ = Q₂·R₂ it is that of the small matrix R₁·R₂ᵀ.
func (l *lowRank) svd() (u, s, vt []float64) {
	qb, rb := linalg.QR(widened(l.b), l.out, l.rank)
	qa, ra := linalg.QR(linalg.Transpose(widened(l.a), l.rank, l.in), l.in, l.rank)
	m, n := min(l.out, l.rank), min(l.in, l.rank)
	u1, s, vt1 := linalg.SVD(linalg.Multiply(rb, linalg.Transpose(ra, n, l.rank), m, l.rank, n), m, n)
	k := len(s)
	for i := range s {
		s[i] *= math.Abs(l.scale)
	}
	if l.scale < 0 {
		for i := range u1 {
			u1[i] = -u1[i]
		}
	}
	return linalg.Multiply(qb, u1, l.out, m, k), s, linalg.Multiply(vt1, linalg.Transpose(qa, l.in, n), k, n, l.in)
}

// truncated is the change with its largest singular values alone, each with its root in both factors.
func (l *lowRank) truncated(u, s, vt []float64, rank int) lowRank {
	k := len(s)
	t := lowRank{module: l.module, rank: rank, in: l.in, out: l.out, scale: 1}
	t.a, t.b = make([]float32, rank*l.in), make([]float32, l.out*rank)
	for j := range min(rank, k) {
		root := math.Sqrt(s[j])
		for i := range l.out {
			t.b[i*rank+j] = float32(root * u[i*k+j])
		}
		for i := range l.in {
			t.a[j*l.in+i] = float32(root * vt[j*l.in+i])
		}
	}
	return t
}

// approximation says how nearest looks for a pair.
type approximation struct {
	rank       int     // of the pair; with an energy the highest
	energy     float64 // > 0: the lowest rank that keeps this share of the squares is enough
	squares    float64 // the sum of all squares, for an energy
	iterations int     // of the search for singular vectors; 0 is 4
	seed       uint64
}

// nearest is the pair that comes nearest to a change (out, in) of a weight, by random projection (linalg.TruncatedSVD). For an
// energy it tries twice the rank until there is enough.
func nearest(module string, change []float32, out, in int, a approximation) lowRank {
	rank := a.rank
	if a.energy > 0 {
		rank = min(rank, 16)
	}
	for {
		u, s, vt := linalg.TruncatedSVD(linalg.Matrix(change, out, in),
			linalg.Projection{Rank: rank, Iterations: a.iterations, Seed: a.seed})
		values := widened(s)
		kept := 0.0
		for _, v := range values {
			kept += v * v
		}
		if rank == a.rank || kept >= a.energy*a.squares {
			like := lowRank{module: module, in: in, out: out}
			return like.truncated(widened(u), values, widened(vt), a.choose(values))
		}
		rank = min(a.rank, 2*rank)
	}
}

// choose is the rank of the pair, whose singular values are s, descending. It is 1 at least.
func (a *approximation) choose(s []float64) int {
	limit := min(len(s), a.rank)
	if a.energy == 0 {
		return max(1, limit)
	}
	rank, kept := 0, 0.0
	for ; rank < limit && kept < a.energy*a.squares*(1-1e-12); rank++ {
		kept += s[rank] * s[rank]
	}
	return max(1, rank)
}

// stacked is the sum of changes of one weight, as one change whose rank is the sum of theirs.
func stacked(list []lowRank, factors []float64) lowRank {
	sum := lowRank{module: list[0].module, in: list[0].in, out: list[0].out, scale: 1}
	for _, l := range list {
		sum.rank += l.rank
	}
	sum.b = make([]float32, sum.out*sum.rank)
	at := 0
	for i, l := range list {
		part := slices.Clone(l.a)
		kernels.Scale(float32(factors[i]), part)
		sum.a = append(sum.a, part...)
		for r := range l.out {
			copy(sum.b[r*sum.rank+at:], l.b[r*l.rank:(r+1)*l.rank])
		}
		at += l.rank
	}
	return sum
}

func widened(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// unionOfTargets says in PEFT's terms which modules several adapters have: with their own words where these agree on all
// else, by whole names otherwise.
func unionOfTargets(configs []*Config, modules []string) (targets, exclude Modules, layers []int) {
	first := configs[0]
	var names, expressions []string
	for _, c := range configs {
		same := slices.Equal(c.Layers, first.Layers) && slices.Equal(c.Exclude.Names, first.Exclude.Names) &&
			c.Exclude.Regex == first.Exclude.Regex && (c.Targets.Regex == "") == (first.Targets.Regex == "") && !c.Targets.Empty()
		if !same {
			return Modules{Names: slices.Sorted(slices.Values(modules))}, Modules{}, nil
		}
		names = append(names, c.Targets.Names...)
		if expr := c.Targets.Regex; expr != "" && !slices.Contains(expressions, expr) {
			expressions = append(expressions, expr)
		}
	}
	slices.Sort(names)
	switch len(expressions) {
	case 0:
		return Modules{Names: slices.Compact(names)}, first.Exclude, first.Layers
	case 1:
		return Modules{Regex: expressions[0]}, first.Exclude, first.Layers
	}
	if slices.Contains(expressions, allLinear) {
		return Modules{Regex: allLinear}, first.Exclude, first.Layers
	}
	return Modules{Regex: "(" + strings.Join(expressions, ")|(") + ")"}, first.Exclude, first.Layers
}
