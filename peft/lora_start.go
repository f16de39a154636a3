package peft

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/linalg"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
)

// Ways to start a LoRA. With the first two B is zero.
const (
	InitKaiming  = "kaiming"  // A uniform in ±1/√in, PEFT's default (init_lora_weights true)
	InitGaussian = "gaussian" // A normal with a standard deviation of 1/rank
	InitPiSSA    = "pissa"    // the largest singular values of the weight (Meng et al. 2024)
	InitOLoRA    = "olora"    // the first columns of the weight's QR decomposition (Büyükakyüz 2024)
	InitLoftQ    = "loftq"    // what quantization took from the weight, as far as the rank goes (Li et al. 2023)
)

// Inits are all of them.
var Inits = []string{InitKaiming, InitGaussian, InitPiSSA, InitOLoRA, InitLoftQ}

// startsApart reports an init whose pair is not zero but that must change nothing at the start. The base cannot be made
// less by the pair, as PEFT does: it is frozen. So the pair is kept that training started from, and taken away in every
// product; the finished adapter is a plain LoRA of twice the rank, B·A - B₀·A₀ = [B, -B₀]·[A; A₀].
func startsApart(init string) bool { return init == InitPiSSA || init == InitOLoRA }

// startLoRA fills the A matrix of a pair that starts at zero.
func startLoRA(c *Config, p *Param, seed uint64) {
	if !strings.HasSuffix(p.Name, partA) && !strings.HasSuffix(p.Name, embeddingB) {
		return
	}
	r := newRandom(seed, p.Name)
	switch {
	case strings.HasSuffix(p.Name, embeddingB): // PEFT starts embeddings the other way round: A zero, B normal
		r.normal(p.Data, 1)
	case c.Init == InitGaussian:
		r.normal(p.Data, 1/float64(p.Rows()))
	default:
		r.uniform(p.Data, 1/math.Sqrt(float64(p.Cols())))
	}
}

// loraStarts are the tensors that start neither at zero nor at random, by name, with rows in the order of the Hugging Face
// checkpoint.
func loraStarts(b *Base, c *Config, chosen []string, opt *LoRAOptions) (map[string][]float32, error) {
	starts := map[string][]float32{}
	if c.Init == InitLoftQ {
		return starts, loftQ(b, c, chosen, opt, starts)
	}
	for _, l := range b.Model.Matrices() {
		if !slices.Contains(chosen, l.Module) || l.Role == arch.TokenEmbedding {
			continue
		}
		if c.DoRA {
			starts[partName(l.Module, magnitudePart)] = inHFRows(rowNorms(l), l)
		}
		if !startsApart(c.Init) {
			continue
		}
		r := c.rankOf(l.Module)
		if r > min(l.W.Rows, l.W.Cols) {
			return nil, errors.New(c.Init + ": the rank is larger than " + l.Module)
		}
		factor := pissa
		if c.Init == InitOLoRA {
			factor = olora
		}
		pairA, pairB := factor(l, r, c.scaleOf(l.Module), opt.Seed)
		pairB = inHFRows(pairB, l)
		starts[loraName(l.Module, "A")], starts[partName(l.Module, startA)] = pairA, pairA
		starts[loraName(l.Module, "B")], starts[partName(l.Module, startB)] = pairB, pairB
	}
	return starts, nil
}

// inHFRows is a tensor whose rows are those of a weight, in the order of the Hugging Face checkpoint.
func inHFRows(x []float32, l *model.Linear) []float32 {
	if l.PermutedHeads == 0 {
		return x
	}
	shape := []int{l.W.Rows, len(x) / l.W.Rows}
	out := make([]float32, len(x))
	toHF([]Param{{Shape: shape, Data: out}}, []Param{{Shape: shape, Data: x}}, []permutation{{0, l.PermutedHeads}})
	return out
}

// pissa is A = √(S/scale)·Vᵀ and B = U·√(S/scale) of the largest singular values of W = U·S·Vᵀ.
func pissa(l *model.Linear, r int, scale float64, seed uint64) (a, b []float32) {
	u, s, vt := linalg.TruncatedSVD(linalg.Of{Weights: &l.W}, linalg.Projection{Rank: r, Seed: seed})
	a, b = vt, u
	for k, value := range s {
		root := float32(math.Sqrt(float64(value) / scale))
		kernels.Scale(root, a[k*l.W.Cols:(k+1)*l.W.Cols])
		for i := range l.W.Rows {
			b[i*r+k] *= root
		}
	}
	return a, b
}

// olora is B = the first columns of Q and A = the first rows of R, W = Q·R.
func olora(l *model.Linear, r int, _ float64, _ uint64) (a, b []float32) {
	rows, cols := l.W.Rows, l.W.Cols
	first := make([]float32, rows*r)
	row := make([]float32, cols)
	for i := range rows {
		l.W.Row(row, i)
		copy(first[i*r:(i+1)*r], row)
	}
	b, _ = linalg.QR(first, rows, r)
	a = make([]float32, r*cols)
	linalg.Of{Weights: &l.W}.ApplyTransposed(a, linalg.Transpose(b, rows, r), r)
	return a, b
}

// loftQ starts pairs at what the base's rounding took from the original weights.
func loftQ(b *Base, c *Config, chosen []string, opt *LoRAOptions, starts map[string][]float32) error {
	switch {
	case opt.Original == nil:
		return errors.New("init loftq needs the model that the base was quantized from")
	case c.DoRA:
		return errors.New("init loftq does not go together with DoRA")
	case slices.ContainsFunc(chosen, func(m string) bool { return m == model.EmbedModule || m == model.HeadModule }):
		return errors.New("init loftq is for linear maps of the layers only")
	}
	pairs, _, err := Extract(context.Background(), b, opt.Original, ExtractOptions{
		Targets: chosen, Rank: c.Rank, Seed: opt.Seed,
	})
	if err != nil {
		return err
	}
	list, err := pairs.lowRanks()
	if err != nil {
		return err
	}
	for _, p := range list {
		if r := c.rankOf(p.module); r != p.rank {
			return errors.New("init loftq with several ranks is not supported")
		}
		root := float32(math.Sqrt(math.Abs(p.scale / c.scaleOf(p.module))))
		kernels.Scale(root, p.a)
		kernels.Scale(root, p.b)
		starts[loraName(p.module, "A")], starts[loraName(p.module, "B")] = p.a, p.b
	}
	return nil
}

// collapse makes a plain LoRA of twice the rank of one that started apart.
func (m *lora) collapse(_ *Base, params []Param) ([]Param, error) {
	c := m.config
	if !startsApart(c.Init) {
		return nil, nil
	}
	var out []Param
	paired := map[int]bool{}
	for _, p := range m.modules {
		for _, i := range []int{p.a, p.b, p.a0, p.b0} {
			paired[i] = true
		}
		if p.a0 < 0 { // of the embedding, which started at zero: its rank grows with zeros
			out = append(out, beside(&params[p.a], nil, true), beside(&params[p.b], nil, false))
			continue
		}
		minus := slices.Clone(params[p.b0].Data)
		kernels.Scale(-1, minus)
		out = append(out, beside(&params[p.a], params[p.a0].Data, true), beside(&params[p.b], minus, false))
	}
	for i := range params {
		if !paired[i] {
			out = append(out, params[i])
		}
	}
	c.doubleRank()
	if c.Grid != nil {
		c.Grid.Apart = true
	}
	return out, nil
}

// beside is a matrix with another of the same shape (nil: zeros) below it or to its right.
func beside(p *Param, other []float32, below bool) Param {
	rows, cols := p.Rows(), p.Cols()
	if other == nil {
		other = make([]float32, len(p.Data))
	}
	if below {
		return Param{Name: p.Name, Shape: []int{2 * rows, cols}, Data: slices.Concat(p.Data, other)}
	}
	var data []float32
	for i := range rows {
		data = append(append(data, p.Data[i*cols:(i+1)*cols]...), other[i*cols:(i+1)*cols]...)
	}
	return Param{Name: p.Name, Shape: []int{rows, 2 * cols}, Data: data}
}

// doubleRank doubles all ranks and leaves all scales.
func (c *Config) doubleRank() {
	grow := 2.0
	if c.RSLoRA {
		grow = math.Sqrt2
	}
	c.Rank, c.Alpha, c.Init = 2*c.Rank, grow*c.Alpha, InitKaiming
	for key := range c.RankPattern {
		c.RankPattern[key] *= 2
	}
	for key := range c.AlphaPattern {
		c.AlphaPattern[key] *= grow
	}
}
