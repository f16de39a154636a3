package attach

import (
	"slices"

	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/requant"
)

// Effect says what a bound method does and has beside its hooks. What a method does not have stays zero.
type Effect struct {
	// Changes are the changes of weights that have the same effect as the hooks, with the present values; nil for a
	// method that changes no weight.
	Changes func() map[*model.Linear]Change
	// Vectors are the changes of norms and biases, with the present values.
	Vectors func() []VectorChange
	// Unmergeable says why the changes cannot become part of the weights of this base; nil where they can.
	Unmergeable error

	// Train switches what only happens in training, such as dropout, on or off.
	Train func(on bool)
	// Dropout says that inputs are dropped in training.
	Dropout bool
	// Stepped is called when the tensors have new values, after step of all steps; step may be 0.
	Stepped func(step, steps int)
	// Regularize adds the gradient of the method's own term of the loss.
	Regularize func()
	// State are views of what the method remembers from step to step beside its tensors. Checkpoints hold it; what is
	// written into the views restores it.
	State func() []Param
	// Finish changes the adapter after the last step.
	Finish func(a *Adapter) error

	// Expand puts the method's virtual tokens into a batch, or makes room for its prefix.
	Expand func(b *batch.Batch)
	// Reserve takes ids for virtual tokens downwards from first and gives the next free one.
	Reserve func(first int32) int32

	// ReadsProduct says whether the Linear hook computes with the product of a linear map rather than only adds to it.
	ReadsProduct func(l *model.Linear) bool
	// Blocks are the matrices that the method requantizes and multiplies with.
	Blocks []*requant.Blocks
}

// Change is a change ΔW of one weight matrix (out, in), rows as the base stores them.
type Change struct {
	// AddRows is dst (r1-r0, in) += ΔW[r0:r1].
	AddRows func(dst []float32, r0, r1 int)
	// Factors are a (rank, in) and b (out, rank) with ΔW = b·a; nil where the change is not of low rank.
	Factors func() (a, b []float32, rank int)
	// Multiply does to rows r0 to r1-1 of a matrix, what other adapters add among them, what the change does to the
	// weight; nil for a change that adds.
	Multiply func(x []float32, r0, r1 int)
	// Phase is where a change that multiplies stands among those of several adapters.
	Phase MergePhase
	// Scaling is set where rows or columns are multiplied by factors and nothing else changes.
	Scaling *Scaling
	// Exact is the change before requantization; nil where nothing is requantized.
	Exact *Change
}

// ScalesRows reports whether only rows are multiplied, which the scales of quantized blocks can store.
func (c *Change) ScalesRows() bool { return c.Scaling != nil && c.Scaling.Rows != nil }

// MergePhase says where a change that multiplies stands among those of several adapters: it acts on the weight with
// the changes before it.
type MergePhase int

// The phases. A change that adds is in its adapter's place.
const (
	InOrder    MergePhase = iota // in the order of the adapters
	InputPhase                   // before all others, because they change the input; the last adapter's first
	LatePhase                    // after all others
)

// InPhases puts the changes of several adapters, which are in their order, into the order in which they apply.
func InPhases(changes []Change) []Change {
	var before, during, after []Change
	for _, c := range changes {
		switch c.Phase {
		case InputPhase:
			before = append([]Change{c}, before...)
		case InOrder:
			during = append(during, c)
		case LatePhase:
			after = append(after, c)
		}
	}
	return slices.Concat(before, during, after)
}
