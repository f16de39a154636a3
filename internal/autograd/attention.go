package autograd

import (
	"sync"

	"github.com/peftconv/peftconv/kernels"
)

// Heads divides the columns of queries, keys and values into heads, and says how products become probabilities. Query
// head h reads key head h/(Queries/Keys) (grouped-query attention, Ainslie et al. 2023). Where a field is zero, what it
// is for is left out.
type Heads struct {
	Queries, Keys int     // number of query heads, and of key and value heads; Queries is a multiple of Keys
	Dim           int     // columns of one head of queries and keys
	ValueDim      int     // columns of one head of values and results; 0: Dim
	Scale         float32 // of the scores, usually 1/sqrt(Dim)

	Window int       // keys that a query sees, itself the last of them; 0: all of its sequence up to itself
	Cap    float32   // a scaled score s becomes Cap·tanh(s/Cap)
	Sinks  []float32 // (Queries) constant scores that take part in each softmax and have no value
	Slopes []float32 // (Queries) ALiBi: Slope times the distance of a key is taken off its score
}

// valueDim is the columns of one head of values.
func (h *Heads) valueDim() int {
	if h.ValueDim > 0 {
		return h.ValueDim
	}
	return h.Dim
}

// shape is the same for the kernels.
func (h *Heads) shape(bounds []int32) kernels.AttentionShape {
	return kernels.AttentionShape{
		Bounds: bounds, Queries: h.Queries, Keys: h.Keys, Dim: h.Dim, ValueDim: h.ValueDim, Scale: h.Scale,
		Window: h.Window, Cap: h.Cap, Sinks: h.Sinks, Slopes: h.Slopes,
	}
}

// attentionOp is y = softmax(scale·q·kᵀ, causal)·v for every sequence and head.
type attentionOp struct {
	q, k, v, y *Tensor
	shape      kernels.AttentionShape
	logSum     []float32  // (T, Queries) log of the softmax denominator of each query
	fresh      [3]*Tensor // which of q, k and v have new gradients
}

// Attention is causal self-attention inside each sequence of a packed batch: q (T, Queries·Dim), k (T, Keys·Dim), v (T,
// Keys·ValueDim), y (T, Queries·ValueDim). Scores exist for one block of queries and keys of one head at a time, never
// T×T; with a window only for blocks that it reaches into. Backward recomputes them from the kept logarithm of each
// denominator (Dao et al. 2022, "FlashAttention").
func (t *Tape) Attention(q, k, v *Tensor, bounds []int32, heads Heads) *Tensor {
	dim := heads.valueDim()
	if q.Cols != heads.Queries*heads.Dim || k.Cols != heads.Keys*heads.Dim || v.Cols != heads.Keys*dim ||
		k.Rows != q.Rows || v.Rows != q.Rows || heads.Queries%heads.Keys != 0 {
		panic("autograd: Attention: shapes do not fit")
	}
	y := t.Tensor(q.Rows, heads.Queries*dim)
	op := t.pools.attention.take()
	*op = attentionOp{q: q, k: k, v: v, y: y, logSum: t.arena.alloc(q.Rows * heads.Queries), shape: heads.shape(bounds)}
	op.shape.Precision = t.precision
	kernels.Attention(y.Data, op.logSum, q.Data, k.Data, v.Data, op.shape)
	t.lap(PartAttention)
	y.needs = q.needs || k.needs || v.needs
	t.keep(op, y.needs)
	return y
}

func (op *attentionOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	for i, x := range [...]*Tensor{op.q, op.k, op.v} {
		if x.needs && t.startGrad(x) {
			op.fresh[i] = x
		}
	}
	t.rows(op.q.Rows, op.q.Cols, (*clearGradients)(op))
	dq, dk, dv := op.gradients()
	kernels.AttentionBackward(dq, dk, dv, op.y.Grad, op.y.Data, op.logSum, op.q.Data, op.k.Data, op.v.Data, op.shape)
}

// gradients are those of q, k and v, or nil.
func (op *attentionOp) gradients() (dq, dk, dv []float32) {
	if op.q.needs {
		dq = op.q.Grad
	}
	if op.k.needs {
		dk = op.k.Grad
	}
	if op.v.needs {
		dv = op.v.Grad
	}
	return dq, dk, dv
}

// clearGradients clears new gradients.
type clearGradients attentionOp

func (op *clearGradients) rows(from, to int) {
	for _, x := range op.fresh {
		if x != nil {
			clear(x.Grad[from*x.Cols : to*x.Cols])
		}
	}
}

// Cached are keys or values that are kept: Floats (positions, Keys·Dim), or Rows that give them.
type Cached = kernels.Cached

// AttendCached is attention of n new tokens over a cache that already holds their own keys and values: q (n,
// Queries·Dim), keys (at least past+n, Keys·Dim) and values (at least past+n, Keys·ValueDim), y (n, Queries·ValueDim).
// Query i sees the first past+i+1, or with a window the last of these, and no others are read. Forward only.
func AttendCached(y, q []float32, keys, values Cached, past, n int, heads Heads) {
	kernels.CachedAttention(y, q, keys, values, past, n, heads.shape(nil))
}

// Attended counts the time since the operation before as that of attention.
func (t *Tape) Attended() { t.lap(PartAttention) }

// scratch is memory of one task.
type scratch struct{ floats []float32 }

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// takeScratch gives n floats of undefined content.
func takeScratch(n int) *scratch {
	s := scratches.Get().(*scratch)
	if cap(s.floats) < n {
		s.floats = make([]float32, n)
	}
	s.floats = s.floats[:n]
	return s
}

func (s *scratch) give() { scratches.Put(s) }
