package methods

import (
	"math"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
)

// doraSite is the magnitudes of a weight's rows beside the LoRA of their directions (Liu et al. 2024, "DoRA"):
// W' = m·(W + s·B·A)/‖W + s·B·A‖, row by row. The norm counts as a constant in the gradient, as in PEFT.
type doraSite struct {
	magnitude *autograd.Tensor // (1, out)
	squares   []float64        // (out) ‖W‖²
	inverse   []float32        // (out) 1/‖W + s·B·A‖ with the present values
}

func newDoRASite(l *model.Linear, magnitude *autograd.Tensor) *doraSite {
	d := &doraSite{magnitude: magnitude, squares: make([]float64, l.W.Rows), inverse: make([]float32, l.W.Rows)}
	for i, norm := range rowNorms(l) {
		d.squares[i] = float64(norm) * float64(norm)
	}
	return d
}

// rowNorms are the Euclidean norms of a weight's rows.
func rowNorms(l *model.Linear) []float32 {
	norms := make([]float32, l.W.Rows)
	const piece = 16
	kernels.Parallel((l.W.Rows+piece-1)/piece, func(task int) {
		row := make([]float32, l.W.Cols)
		for i := task * piece; i < min(l.W.Rows, (task+1)*piece); i++ {
			l.W.Row(row, i)
			norms[i] = lowrank.FixedNorm(row)
		}
	})
	return norms
}

// update computes the norms of the present values, without forming the sum of weight and product:
// ‖W + s·B·A‖² = ‖W‖² + 2s·⟨B, W·Aᵀ⟩ + s²·⟨B, B·(A·Aᵀ)⟩, row by row.
func (d *doraSite) update(s *loraSite) {
	r, out, in := s.a.Rows, s.b.Rows, s.a.Cols
	cross := make([]float32, r*out) // A·Wᵀ
	kernels.GemmWT(cross, s.a.Data, r, &s.linear.W, 0)
	gram := make([]float32, r*r)
	kernels.Gemm(false, true, r, r, in, 1, s.a.Data, in, s.a.Data, in, 0, gram, r)
	scale := float64(s.scale)
	for i := range out {
		b := s.b.Row(i)
		var mixed, own float64
		for k, v := range b {
			mixed += float64(v) * float64(cross[k*out+i])
			own += float64(v) * float64(kernels.Dot(gram[k*r:(k+1)*r], b))
		}
		square := d.squares[i] + 2*scale*mixed + scale*scale*own
		d.inverse[i] = float32(1 / math.Sqrt(max(square, 1e-30)))
	}
}

// apply is y' = m/‖·‖·(y + s·(x·Aᵀ)·Bᵀ), y = x·Wᵀ. Where inputs are dropped, they are from the change alone.
func (d *doraSite) apply(t *autograd.Tape, s *loraSite, x, y *autograd.Tensor, dropout float32) *autograd.Tensor {
	if dropout == 0 && s.strength == 1 {
		return t.Magnitude(t.LoRA(y, x, s.a, s.b, s.scale, 0), d.magnitude, d.inverse)
	}
	plain := y
	if dropout > 0 {
		x = t.Dropout(x, dropout)
		plain = t.Linear(x, &s.linear.W)
	}
	changed := t.Magnitude(t.LoRA(t.Scaled(plain, 1), x, s.a, s.b, s.scale, 0), d.magnitude, d.inverse)
	return t.Add(y, t.Scaled(t.Add(changed, t.Scaled(plain, -1)), s.strength))
}

// addRows adds strength·(W' - W). The norm is that of the row itself.
func (d *doraSite) addRows(s *loraSite, dst []float32, r0, r1 int) {
	cols := s.a.Cols
	row, change, sum := make([]float32, cols), make([]float32, cols), make([]float32, cols)
	for i := r0; i < r1; i++ {
		s.linear.W.Row(row, i)
		clear(change)
		addProduct(change, s.a, s.b, s.scale, i, i+1)
		copy(sum, row)
		kernels.Add(sum, change)
		factor := d.magnitude.Data[i] / max(lowrank.FixedNorm(sum), 1e-15)
		out := dst[(i-r0)*cols : (i-r0+1)*cols]
		lowrank.FusedAxpy(float32(s.strength*(factor-1)), row, out)
		lowrank.FusedAxpy(float32(s.strength*factor), change, out)
	}
}
