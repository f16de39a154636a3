package autograd

import (
	"context"

	"github.com/peftconv/peftconv/kernels"
)

// Tensor is a (Rows, Cols) row-major float32 matrix. Tensors made by a tape live until its Reset (inside a
// Checkpoint: until the checkpoint is left); parameters live as long as their owner wants.
type Tensor struct {
	Rows, Cols int
	Data       []float32 // Rows*Cols values
	Grad       []float32 // Rows*Cols gradients, nil until backward reaches the tensor
	needs      bool      // a gradient has to reach this tensor
	spare      []float32 // memory for the gradient, where it must not be the tape's next
}

// NewParam makes a trainable tensor over memory of the caller. Backward adds into grad; the caller zeroes it.
// It panics when data or grad do not hold rows*cols values.
func NewParam(rows, cols int, data, grad []float32) *Tensor {
	if len(data) != rows*cols || len(grad) != rows*cols {
		panic("autograd: parameter memory does not match its shape")
	}
	return &Tensor{Rows: rows, Cols: cols, Data: data, Grad: grad, needs: true}
}

// NewConst makes a tensor over memory of the caller through which no gradient flows.
func NewConst(rows, cols int, data []float32) *Tensor {
	if len(data) != rows*cols {
		panic("autograd: constant memory does not match its shape")
	}
	return &Tensor{Rows: rows, Cols: cols, Data: data}
}

// NeedsGrad reports whether the tensor depends on something trainable.
func (x *Tensor) NeedsGrad() bool { return x.needs }

// Row is row i of the data.
func (x *Tensor) Row(i int) []float32 { return x.Data[i*x.Cols : (i+1)*x.Cols] }

// gradRow is row i of the gradient, which must be there.
func (x *Tensor) gradRow(i int) []float32 { return x.Grad[i*x.Cols : (i+1)*x.Cols] }

// operation is one recorded step: backward reads the gradient of its result and adds to those of its arguments.
type operation interface{ backward(t *Tape) }

// Tape records operations and owns the memory of their results.
type Tape struct {
	record    bool
	precision kernels.Precision // of products with frozen matrices
	keeps     bool              // sub-graphs under Checkpoint stay in memory
	ops       []operation
	tensors   slab[Tensor]
	routings  slab[Routing]
	arena     arena
	random    random
	watch     stopwatch
	pools     pools
	loop      loop
	bias      biasTask // the tasks of AddBias and Embedding
	lookup    lookupTask
	done      doneLoRA
	stop      context.Context // see Until
	passed    func(n int)     // see OnPass
}

// NewTape makes an empty tape that records.
func NewTape() *Tape { return &Tape{record: true} }

// interrupted is what a tape panics with where it is to stop.
type interrupted struct{}

// Until calls f, which uses the tape, and gives it up when ctx is cancelled: before a sub-graph under Checkpoint, or
// before an operation of Backward. Then it gives the error of ctx, and the tape can be used again after a Reset.
func (t *Tape) Until(ctx context.Context, f func() error) (err error) {
	t.stop = ctx
	defer func() {
		t.stop = nil
		switch r := recover(); r.(type) {
		case nil:
		case interrupted:
			err = ctx.Err()
		default:
			panic(r)
		}
	}()
	return f()
}

// goOn panics where the tape is to stop.
func (t *Tape) goOn() {
	if t.stop != nil && t.stop.Err() != nil {
		panic(interrupted{})
	}
}

// Reset drops all operations and tensors and keeps their memory for the next step. The seed drives the dropout masks
// until the next Reset.
func (t *Tape) Reset(seed uint64) {
	for _, op := range t.ops {
		t.recycle(op)
	}
	clear(t.ops)
	t.ops = t.ops[:0]
	t.tensors.n, t.routings.n = 0, 0
	t.arena.reset()
	t.random, t.done = random{seed: seed}, doneLoRA{}
	t.lap(PartOther)
}

// Record switches recording on (as it is on a new tape) or off, for forward passes that no Backward follows.
func (t *Tape) Record(on bool) { t.record = on }

// Keep switches the keeping of the inside of Checkpoints on or off (off on a new tape). With it backward recomputes
// nothing, and memory holds the inside of all checkpoints at once.
func (t *Tape) Keep(on bool) { t.keeps = on }

// Precision sets the rounding of the operands of products with frozen matrices, forward and backward; none on a new
// tape.
func (t *Tape) Precision(p kernels.Precision) { t.precision = p }

// Backward runs every recorded operation in reverse. Gradients start at the loss operations, which seed their own.
func (t *Tape) Backward() { t.unwind(0) }

// OnPass has Backward call f with the number of a Mark when it has gone through all that was recorded after that.
func (t *Tape) OnPass(f func(n int)) { t.passed = f }

// Mark is for OnPass.
func (t *Tape) Mark(n int) {
	if t.passed != nil {
		t.push(passing(n))
	}
}

type passing int // a Mark

func (m passing) backward(t *Tape) { t.passed(int(m)) }

// Bytes is the memory the tape holds, in bytes.
func (t *Tape) Bytes() int64 { return t.arena.bytes() }

// unwind pops and runs operations until only the first base are left.
func (t *Tape) unwind(base int) {
	for len(t.ops) > base {
		t.goOn()
		last := len(t.ops) - 1
		op := t.ops[last]
		t.ops[last] = nil
		t.ops = t.ops[:last]
		op.backward(t)
		t.lap(backwardPart(op))
		t.recycle(op)
	}
}

// push records op when the tape records and one of the inputs needs a gradient.
func (t *Tape) push(op operation) {
	if t.record {
		t.ops = append(t.ops, op)
	}
}

// Tensor makes an uninitialised tensor that lives as long as the tape's other results.
func (t *Tape) Tensor(rows, cols int) *Tensor {
	x := t.tensors.next()
	x.Rows, x.Cols, x.Data = rows, cols, t.arena.alloc(rows*cols)
	return x
}

// view is a second tensor over the data of x: same values, own gradient.
func (t *Tape) view(x *Tensor) *Tensor {
	v := t.tensors.next()
	v.Rows, v.Cols, v.Data, v.needs = x.Rows, x.Cols, x.Data, x.needs
	return v
}

// grad returns the gradient of x for adding to, and zeroes it when it is new.
func (t *Tape) grad(x *Tensor) []float32 {
	if t.startGrad(x) {
		clear(x.Grad)
	}
	return x.Grad
}

// startGrad allocates a gradient for x if it has none, and reports whether it is new: then its content is undefined.
func (t *Tape) startGrad(x *Tensor) (fresh bool) {
	if x.Grad != nil {
		return false
	}
	x.Grad, x.spare = x.spare, nil
	if x.Grad == nil {
		x.Grad = t.arena.alloc(len(x.Data))
	}
	return true
}

// gradBeta returns the gradient of x for a product C = AB + beta·C: a new gradient is not read (beta 0).
func (t *Tape) gradBeta(x *Tensor) (grad []float32, beta float32) {
	if t.startGrad(x) {
		return x.Grad, 0
	}
	return x.Grad, 1
}

// mark is a state of a tape to which release returns.
type mark struct {
	tensors, routings int
	arena             position
}

func (t *Tape) mark() mark { return mark{t.tensors.n, t.routings.n, t.arena.at} }

// release drops all tensors made since the mark. Operations made since then must be gone.
func (t *Tape) release(m mark) {
	t.tensors.n, t.routings.n = m.tensors, m.routings
	t.arena.at = m.arena
}
