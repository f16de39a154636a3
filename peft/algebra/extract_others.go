package algebra

import (
	"math"
	"slices"

	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/quant"
)

// compare reports a matrix that differs.
func (x *extractor) compare(name, reason string, from, to model.Ordered) {
	left := LeftTensor{Name: name, Reason: reason, tuned: whole{matrix: to}}
	if from.W.Rows != to.W.Rows || from.W.Cols != to.W.Cols {
		x.leave(left, math.Inf(1), 0)
		return
	}
	squares, norm := lowrank.Differ(from, to, func(int) []float32 { return make([]float32, from.W.Cols) })
	x.leave(left, squares, norm)
}

// compareValues reports a vector that differs.
func (x *extractor) compareValues(name, reason string, from, to []float32) {
	left := LeftTensor{Name: name, Reason: reason, tuned: whole{vector: to}}
	if len(from) != len(to) {
		x.leave(left, math.Inf(1), 0)
		return
	}
	squares, norm := 0.0, 0.0
	for i, v := range from {
		d := float64(to[i]) - float64(v)
		squares, norm = squares+d*d, norm+float64(v)*float64(v)
	}
	x.leave(left, squares, norm)
}

// leave adds a tensor to what is left, if it differs: by an infinity, if its shape does.
func (x *extractor) leave(t LeftTensor, squares, norm float64) {
	switch {
	case squares == 0:
		return
	case math.IsInf(squares, 1):
		t.Reason += " of another shape"
	default:
		t.Change = lowrank.Ratio(squares, norm)
	}
	x.report.Left = append(x.report.Left, t)
}

// compareBias reports a bias that differs; a file without one has zeros.
func (x *extractor) compareBias(from, to *model.Linear) {
	a, b := biasInOrder(from), biasInOrder(to)
	if a == nil {
		a = make([]float32, len(b))
	}
	if b == nil {
		b = make([]float32, len(a))
	}
	x.compareValues(from.Module+".bias", "bias", a, b)
}

// biasInOrder is a bias in the order of the Hugging Face checkpoint.
func biasInOrder(l *model.Linear) []float32 {
	if l.PermutedHeads == 0 || l.Bias == nil {
		return l.Bias
	}
	out := slices.Clone(l.Bias)
	for r := range out {
		out[r] = l.Bias[model.PermutedRow(r, len(out)/l.PermutedHeads)]
	}
	return out
}

// compareOthers reports norms, embeddings and head.
func (x *extractor) compareOthers() {
	a, b := x.base.Model, x.tuned.Model
	norms := b.Norms()
	for i, n := range a.Norms() {
		x.compareValues(n.Module+".weight", "norm", n.W.Data, norms[i].W.Data)
	}
	plain := func(w quant.Matrix) model.Ordered { return model.Ordered{W: w} }
	x.compare(a.Ends()[0].Module+".weight", "embedding", plain(a.Embed), plain(b.Embed))
	x.release()
	if !a.Spec.Tied || !b.Spec.Tied {
		x.compare(a.HeadMatrix().Module+".weight", "output head", plain(a.Head), plain(b.Head))
		x.release()
	}
}
