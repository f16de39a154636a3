package peft

import (
	"fmt"

	"github.com/peftconv/peftconv/quant"
)

// diagnose says why a loss or a gradient is not finite.
func (t *trainer) diagnose(loss, norm, lr float64) error {
	what := fmt.Sprintf("step %d: the loss is %v and the norm of its gradient %v", t.state.Step+1, loss, norm)
	if err := checkWeights(t.base); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	for _, p := range views(t.adapter.params, t.bound.values) {
		if i := firstNonFinite(p.Data); i >= 0 {
			return fmt.Errorf("%s: value %d of the adapter's %s is %v: try a lower learning rate than %g", what, i, p.Name, p.Data[i], lr)
		}
	}
	return fmt.Errorf("%s: all weights are finite, so the values overflowed on the way: try a lower learning rate than %g, or clip the gradient",
		what, t.opt.LR)
}

// checkWeights reports the first weight of a base that is NaN or infinite.
func checkWeights(b *Base) error {
	m := b.Model
	if err := checkMatrix("the embedding table", m.Embed); err != nil {
		return err
	}
	for _, layer := range m.Layers {
		for _, l := range layer.Linears() {
			if err := checkMatrix(l.Tensor, l.W); err != nil {
				return err
			}
			if j := firstNonFinite(l.Bias); j >= 0 {
				return fmt.Errorf("value %d of the bias of %s is %v", j, l.Tensor, l.Bias[j])
			}
		}
	}
	for _, norm := range m.Norms() {
		if j := firstNonFinite(norm.W.Data); j >= 0 {
			return fmt.Errorf("value %d of %s is %v", j, norm.Tensor, norm.W.Data[j])
		}
	}
	return checkMatrix("the output head", m.Head)
}

// checkMatrix reports the first weight of a matrix that is NaN or infinite.
func checkMatrix(name string, w quant.Matrix) error {
	row, col, found := w.FirstNonFinite()
	if !found {
		return nil
	}
	x := make([]float32, w.Cols)
	w.Row(x, row)
	return fmt.Errorf("the base is damaged: %s is %v in row %d, column %d", name, x[col], row, col)
}
