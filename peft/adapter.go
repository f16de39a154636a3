package peft

import (
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/model"
)

// Adapter is a configuration and its trained tensors, apart from any base.
type Adapter struct {
	Config Config
	Origin Origin

	flat   []float32 // all parameters, end to end in the order of params
	params []Param   // views of flat, sorted by name
	method method
}

// Origin says where an adapter comes from, as far as its file tells; the zero value is an adapter of unknown origin.
type Origin struct {
	Base         string    // path of the base
	BaseSHA256   string    // Base.SHA256 of it
	Architecture string    // Base.Architecture of it
	Version      string    // of the program that wrote the file
	Training     *Training // how it was trained; nil for an adapter that was not trained here
}

// Training is what an adapter's file records of its training: enough to do it again, and nothing that differs from
// one run to the next.
type Training struct {
	Steps        int      `json:"steps"`
	Tokens       int64    `json:"tokens"`
	LearningRate float64  `json:"learning_rate"`
	Schedule     string   `json:"schedule"`
	Warmup       int      `json:"warmup"`
	WeightDecay  float64  `json:"weight_decay"`
	Clip         float64  `json:"clip"`
	BatchTokens  int      `json:"batch_tokens"`
	Accumulate   int      `json:"accumulate"`
	Seed         uint64   `json:"seed"`
	Loss         float64  `json:"loss"`                // of the last step
	BaseLoss     *float64 `json:"base_loss,omitempty"` // on the evaluation data, without the adapter
	EvalLoss     *float64 `json:"eval_loss,omitempty"` // on the evaluation data, with it
}

// Param is one trained tensor, a view of the adapter's memory.
type Param struct {
	Name  string // PEFT's name
	Shape []int
	Data  []float32
}

// Rows is the first dimension.
func (p *Param) Rows() int { return p.Shape[0] }

// Cols is the number of values in a row.
func (p *Param) Cols() int { return elements(p.Shape[1:]) }

// Params are the adapter's tensors, sorted by name. Their rows are in the order of the Hugging Face checkpoint.
func (a *Adapter) Params() []Param { return a.params }

// Parameters is the number of trained values.
func (a *Adapter) Parameters() int { return len(a.flat) }

// allocate gives an adapter the memory for tensors of the given names and shapes.
func (a *Adapter) allocate(shapes map[string][]int) {
	n := 0
	a.params = a.params[:0]
	for name, shape := range shapes {
		n += elements(shape)
		a.params = append(a.params, Param{Name: name, Shape: shape})
	}
	slices.SortFunc(a.params, func(x, y Param) int { return strings.Compare(x.Name, y.Name) })
	a.flat = make([]float32, n)
	a.params = views(a.params, a.flat)
}

// views are the same tensors over another flat memory.
func views(params []Param, flat []float32) []Param {
	out := slices.Clone(params)
	at := 0
	for i := range out {
		end := at + elements(out[i].Shape)
		out[i].Data = flat[at:end:end]
		at = end
	}
	return out
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

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

// Bound is an adapter at work on one base; it implements model.Hooks. It has its own copy of the parameters: a
// change of the adapter after Bind does not reach it.
type Bound struct {
	adapter *Adapter
	base    *Base
	values  []float32 // as Adapter.flat, rows as the base stores them
	grads   []float32 // as values; nil unless training
	perms   []permutation
	attachment
}

// Bind puts the adapter to work on a base. Errors name what does not fit: another architecture, a module that the
// base does not have, another shape.
func (a *Adapter) Bind(b *Base) (*Bound, error) { return a.bind(b, 1, false) }

func (a *Adapter) bind(b *Base, strength float64, training bool) (*Bound, error) {
	if arch := a.Origin.Architecture; arch != "" && arch != b.Architecture() {
		return nil, fmt.Errorf("adapter: made for a base of architecture %q, but %s is %q", arch, b.Path, b.Architecture())
	}
	perms, err := a.method.permuted(b)
	if err != nil {
		return nil, err
	}
	bound := &Bound{adapter: a, base: b, perms: perms, values: make([]float32, len(a.flat))}
	values := views(a.params, bound.values)
	toBase(values, a.params, perms)
	var grads []Param
	if training {
		bound.grads = make([]float32, len(a.flat))
		grads = views(a.params, bound.grads)
	}
	bound.attachment, err = a.method.bind(b, values, grads, strength)
	return bound, err
}

// store puts the bound parameters back into the adapter.
func (bd *Bound) store() { toHF(bd.adapter.params, views(bd.adapter.params, bd.values), bd.perms) }

// Scaled is an adapter with a factor on its effect.
type Scaled struct {
	Adapter *Adapter
	Scale   float64
}

// stack is several adapters at work at once.
type stack []*Bound

// Linear calls the hooks of all adapters in turn.
func (s stack) Linear(t *autograd.Tape, l *model.Linear, x, y *autograd.Tensor) *autograd.Tensor {
	for _, bound := range s {
		y = bound.Linear(t, l, x, y)
	}
	return y
}

// bindAll puts several adapters to work on a base.
func bindAll(b *Base, adapters []Scaled) (stack, error) {
	var s stack
	for i, scaled := range adapters {
		bound, err := scaled.Adapter.bind(b, scaled.Scale, false)
		if err != nil {
			return nil, fmt.Errorf("adapter %d of %d: %w", i+1, len(adapters), err)
		}
		s = append(s, bound)
	}
	return s, nil
}
