package autograd

import (
	"sync"

	"github.com/peftconv/peftconv/kernels"
)

// Heads divides the columns of queries, keys and values into heads. Query head h reads key head h/(Queries/Keys)
// (grouped-query attention, Ainslie et al. 2023).
type Heads struct {
	Queries, Keys int     // number of query heads, and of key and value heads; Queries is a multiple of Keys
	Dim           int     // columns of one head
	Scale         float32 // of the scores, usually 1/sqrt(Dim)
}

// attentionOp is y = softmax(scale·q·kᵀ, causal)·v for every sequence and head.
type attentionOp struct {
	q, k, v, y *Tensor
	shape      kernels.AttentionShape
	logSum     []float32  // (T, Queries) log of the softmax denominator of each query
	fresh      [3]*Tensor // which of q, k and v have new gradients
}

// Attention is causal self-attention inside each sequence of a packed batch: q (T, Queries·Dim), k and v (T,
// Keys·Dim), y (T, Queries·Dim). Scores exist for one block of queries and keys of one head at a time, never T×T.
// Backward recomputes them from the kept logarithm of each denominator (Dao et al. 2022, "FlashAttention").
func (t *Tape) Attention(q, k, v *Tensor, bounds []int32, heads Heads) *Tensor {
	if q.Cols != heads.Queries*heads.Dim || k.Cols != heads.Keys*heads.Dim || v.Cols != k.Cols ||
		k.Rows != q.Rows || v.Rows != q.Rows || heads.Queries%heads.Keys != 0 {
		panic("autograd: Attention: shapes do not fit")
	}
	y := t.Tensor(q.Rows, q.Cols)
	op := t.pools.attention.take()
	*op = attentionOp{q: q, k: k, v: v, y: y, logSum: t.arena.alloc(q.Rows * heads.Queries)}
	op.shape = kernels.AttentionShape{
		Bounds: bounds, Queries: heads.Queries, Keys: heads.Keys, Dim: heads.Dim, Scale: heads.Scale,
	}
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

// CachedAttention is attention of n new tokens over a cache that already holds their own keys and values: q
// (n, Queries·Dim), keys and values (at least past+n, Keys·Dim); query i sees the first past+i+1. Forward only.
func (t *Tape) CachedAttention(q *Tensor, keys, values []float32, past int, heads Heads) *Tensor {
	y := t.Tensor(q.Rows, q.Cols)
	group, width := heads.Queries/heads.Keys, heads.Keys*heads.Dim
	kernels.Parallel(heads.Queries, func(head int) {
		at := head / group * heads.Dim
		for i := range q.Rows {
			n := past + i + 1
			p := takeScratch(n)
			query := q.Row(i)[head*heads.Dim:][:heads.Dim]
			kernels.Gemm(false, true, 1, n, heads.Dim, heads.Scale, query, q.Cols, keys[at:], width, 0, p.floats, n)
			kernels.Softmax(p.floats)
			out := y.Row(i)[head*heads.Dim:][:heads.Dim]
			kernels.Gemm(false, false, 1, heads.Dim, n, 1, p.floats, n, values[at:], width, 0, out, y.Cols)
			p.give()
		}
	})
	return y
}

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
