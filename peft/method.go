package peft

import (
	"fmt"

	"github.com/peftconv/peftconv/internal/model"
)

// method is one family of adapters: what its tensors are and what they do to a model.
type method interface {
	// bind attaches the tensors to a base. values has a tensor for each of the adapter's, in the same order, with
	// rows as the base stores them; grads likewise, or nil where nothing is to be trained. strength multiplies the
	// adapter's effect.
	bind(b *Base, values, grads []Param, strength float64) (attachment, error)
	// permuted lists the tensors whose rows follow rows that the base stores permuted.
	permuted(b *Base) ([]permutation, error)
}

// attachment is a method at work on a base.
type attachment interface {
	model.Hooks
	// train switches what only happens in training, such as dropout, on or off.
	train(on bool)
	// deltas are the changes of weights that have the same effect, for methods that have such.
	deltas() map[*model.Linear]delta
}

// delta is a change of one weight matrix.
type delta interface {
	// addRows is dst (r1-r0, cols) += ΔW[r0:r1].
	addRows(dst []float32, r0, r1 int)
}

// newMethod makes the method of a configuration over an adapter's tensors and checks that they fit together.
func newMethod(c *Config, params []Param) (method, error) {
	switch c.Method {
	case MethodLoRA:
		return newLoRA(c, params)
	}
	return nil, fmt.Errorf("adapter: method %q is not supported", c.Method)
}
