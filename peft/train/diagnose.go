package train

import (
	"fmt"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/floats"
)

// diagnose says why a loss or a gradient is not finite.
func (t *trainer) diagnose(loss, norm, lr float64) error {
	what := fmt.Sprintf("step %d: the loss is %v and the norm of its gradient %v", t.state.Step+1, loss, norm)
	if err := attach.CheckWeights(t.base); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	for _, p := range attach.Views(t.adapter.Tensors, t.bound.Values) {
		if i := floats.FirstNonFinite(p.Data); i >= 0 {
			return fmt.Errorf("%s: value %d of the adapter's %s is %v: try a lower learning rate than %g", what, i, p.Name,
				p.Data[i], lr)
		}
	}
	return fmt.Errorf("%s: all weights are finite, so the values overflowed on the way: try a lower learning rate than "+
		"%g, or clip the gradient", what, t.opt.LR)
}
