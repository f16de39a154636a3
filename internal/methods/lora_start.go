package methods

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/linalg"
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/method"
)

// StartsApart reports an init whose pair is not zero but that must change nothing at the start. The pair cannot be
// subtracted from the base, as PEFT does: it is frozen. So the initial pair is kept and subtracted in every product;
// the finished adapter is a plain LoRA of twice the rank, B·A - B₀·A₀ = [B, -B₀]·[A; A₀].
func StartsApart(init string) bool { return init == method.InitPiSSA || init == method.InitOLoRA }

// startLoRA fills the A matrix of a pair that starts at zero.
func startLoRA(c *attach.Config, p *attach.Param, seed uint64) {
	if !strings.HasSuffix(p.Name, partA) && !strings.HasSuffix(p.Name, embeddingB) {
		return
	}
	r := prng.NewRandom(seed, p.Name)
	switch {
	case strings.HasSuffix(p.Name, embeddingB): // PEFT starts embeddings the other way round: A zero, B normal
		r.Normal(p.Data, 1)
	case c.Init == method.InitGaussian:
		r.Normal(p.Data, 1/float64(p.Rows()))
	default:
		r.Uniform(p.Data, 1/math.Sqrt(float64(p.Cols())))
	}
}

// rankTooLarge is the error of a weight with fewer singular vectors than the rank, as routers to few experts have.
func rankTooLarge(init string, l *model.Linear, rank int) error {
	return fmt.Errorf("%s: rank %d is larger than %s, which is %d×%d: give it a lower one (rank pattern) or leave it out "+
		"of the targets", init, rank, l.Module, l.W.Rows, l.W.Cols)
}

// loraStarts are the tensors that start neither at zero nor at random, by name, in the order of the Hugging Face
// checkpoint.
func loraStarts(b *attach.Base, c *attach.Config, chosen []string, opt *method.LoRA) (map[string][]float32, error) {
	starts := map[string][]float32{}
	if c.Init == method.InitLoftQ {
		return starts, loftQ(b, c, chosen, opt, starts)
	}
	for _, l := range b.Model.Matrices() {
		if !slices.Contains(chosen, l.Module) || l.Role == arch.TokenEmbedding {
			continue
		}
		if c.DoRA {
			startMagnitude(starts, l)
		}
		if !StartsApart(c.Init) {
			continue
		}
		r := c.RankOf(l.Module)
		if r > min(l.W.Rows, l.W.Cols) {
			return nil, rankTooLarge(c.Init, l, r)
		}
		factor := Pissa
		if c.Init == method.InitOLoRA {
			factor = Olora
		}
		pairA, pairB := factor(l, r, c.ScaleOf(l.Module), opt.Seed)
		pairA, pairB = model.InHFCols(pairA, l), model.InHFRows(pairB, l)
		starts[attach.LoRAName(l.Module, "A")], starts[attach.PartName(l.Module, startA)] = pairA, pairA
		starts[attach.LoRAName(l.Module, "B")], starts[attach.PartName(l.Module, startB)] = pairB, pairB
	}
	return starts, nil
}

// startMagnitude sets the magnitudes of a weight to its norms.
func startMagnitude(starts map[string][]float32, l *model.Linear) {
	j := l.Joint
	if j == nil || j.Experts > 0 { // parameters of experts have none in one piece (checkJoints)
		starts[attach.PartName(l.Module, magnitudePart)] = model.InHFRows(rowNorms(l), l)
		return
	}
	name := attach.PartName(j.Module, magnitudePart)
	if starts[name] == nil {
		starts[name] = make([]float32, j.Rows)
	}
	inHF, first := arch.Inverted(j.Order), j.First(slices.Index(j.Parts, l))
	for r, norm := range rowNorms(l) {
		at := first + r
		if inHF != nil {
			at = int(inHF[at])
		}
		starts[name][at] = norm
	}
}

// Pissa is A = √(S/scale)·Vᵀ and B = U·√(S/scale) of the largest singular values of W = U·S·Vᵀ.
func Pissa(l *model.Linear, r int, scale float64, seed uint64) (a, b []float32) {
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

// Olora is B = the first columns of Q and A = the first rows of R, W = Q·R.
func Olora(l *model.Linear, r int, _ float64, _ uint64) (a, b []float32) {
	rows, cols := l.W.Rows, l.W.Cols
	first := make([]float32, rows*r)
	row := make([]float32, cols)
	for i := range rows {
		l.W.Row(row, i)
		copy(first[i*r:(i+1)*r], model.InHFCols(row, l))
	}
	b, _ = linalg.QR(first, rows, r)
	a = make([]float32, r*cols)
	linalg.Of{Weights: &l.W}.ApplyTransposed(a, linalg.Transpose(b, rows, r), r)
	return a, b
}

// loftQ starts pairs at the original weights less the base's: the rounding errors.
func loftQ(b *attach.Base, c *attach.Config, chosen []string, opt *method.LoRA, starts map[string][]float32) error {
	switch {
	case opt.Original == "":
		return errors.New("init loftq needs the model that the base was quantized from")
	case c.DoRA:
		return errors.New("init loftq cannot be combined with DoRA")
	case slices.ContainsFunc(b.Model.Ends(), func(l *model.Linear) bool { return slices.Contains(chosen, l.Module) }):
		return errors.New("init loftq is for linear maps of the layers only")
	}
	original, err := attach.OpenBase(opt.Original)
	if err != nil {
		return errkind.Errorf(attach.ErrNoInit, "%w", err)
	}
	defer original.Close()
	if err := attach.SameModel(b, original); err != nil {
		return err
	}
	originals := original.Model.Linears()
	for i, l := range b.Model.Linears() {
		if !slices.Contains(chosen, l.Module) {
			continue
		}
		delta, squares, _ := lowrank.Difference(l.Ordered(), originals[i].Ordered())
		switch {
		case !floats.Finite(squares):
			return fmt.Errorf("%s has a weight that is not finite in %s or %s", l.Module, b.Path, original.Path)
		case squares == 0:
			continue
		}
		r := c.RankOf(l.Module)
		if r > min(l.W.Rows, l.W.Cols) {
			return rankTooLarge("init loftq", l, r)
		}
		p := lowrank.Nearest(l.Module, delta, l.W.Rows, l.W.Cols,
			lowrank.Approximation{Rank: r, Seed: prng.NewRandom(opt.Seed, l.Module).Next()})
		root := float32(math.Sqrt(math.Abs(p.Scale / c.ScaleOf(p.Module))))
		kernels.Scale(root, p.A)
		kernels.Scale(root, p.B)
		starts[attach.LoRAName(p.Module, "A")], starts[attach.LoRAName(p.Module, "B")] = p.A, p.B
	}
	if len(starts) == 0 {
		return errors.New("init loftq: no chosen weight differs from the original")
	}
	return nil
}

// collapse makes a plain LoRA of twice the rank of one that started apart.
func (m *LoRA) collapse(_ *attach.Base, params []attach.Param) ([]attach.Param, error) {
	c := m.Config
	if !StartsApart(c.Init) {
		return nil, nil
	}
	var out []attach.Param
	paired := map[int]bool{}
	for _, p := range m.Modules {
		for _, i := range []int{p.A, p.B, p.a0, p.b0} {
			paired[i] = true
		}
		if p.a0 < 0 { // of the embedding, which started at zero: its rank grows with zeros
			out = append(out, beside(&params[p.A], nil, true), beside(&params[p.B], nil, false))
			continue
		}
		minus := slices.Clone(params[p.b0].Data)
		kernels.Scale(-1, minus)
		out = append(out, beside(&params[p.A], params[p.a0].Data, true), beside(&params[p.B], minus, false))
	}
	for i := range params {
		if !paired[i] {
			out = append(out, params[i])
		}
	}
	c.DoubleRank()
	if c.Quantized != nil {
		c.Quantized.Apart = true
	}
	return out, nil
}

// beside is a matrix with another of the same shape (nil: zeros) below it or to its right.
func beside(p *attach.Param, other []float32, below bool) attach.Param {
	rows, cols := p.Rows(), p.Cols()
	if other == nil {
		other = make([]float32, len(p.Data))
	}
	if below {
		return attach.Param{Name: p.Name, Shape: []int{2 * rows, cols}, Data: slices.Concat(p.Data, other)}
	}
	var data []float32
	for i := range rows {
		data = append(append(data, p.Data[i*cols:(i+1)*cols]...), other[i*cols:(i+1)*cols]...)
	}
	return attach.Param{Name: p.Name, Shape: []int{rows, 2 * cols}, Data: data}
}
