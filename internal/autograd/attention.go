package autograd

import (
	"math"
	"sync"

	"github.com/peftconv/peftconv/kernels"
)

// Heads says how the columns of queries, keys and values fall into heads. Query head h reads key head
// h/(Queries/Keys) (grouped-query attention, Ainslie et al. 2023).
type Heads struct {
	Queries, Keys int     // number of query heads, and of key and value heads; Queries is a multiple of Keys
	Dim           int     // columns of one head
	Scale         float32 // of the scores, usually 1/sqrt(Dim)
}

// queryBlock is the number of queries whose scores are in memory at once, for one head.
const queryBlock = 64

// attentionOp is y = softmax(scale·q·kᵀ, causal)·v for every sequence and head.
type attentionOp struct {
	q, k, v, y *Tensor
	bounds     []int32
	heads      Heads
	logSum     []float32 // (T, Queries) log of the softmax denominator of each query
}

// Attention is causal self-attention inside each sequence of a packed batch: q (T, Queries·Dim), k and v
// (T, Keys·Dim), y (T, Queries·Dim). Scores exist for one block of queries of one head at a time, never T×T, and
// backward makes them again from the kept logarithm of each denominator (Dao et al. 2022, "FlashAttention").
func (t *Tape) Attention(q, k, v *Tensor, bounds []int32, heads Heads) *Tensor {
	if q.Cols != heads.Queries*heads.Dim || k.Cols != heads.Keys*heads.Dim || v.Cols != k.Cols ||
		k.Rows != q.Rows || v.Rows != q.Rows || heads.Queries%heads.Keys != 0 {
		panic("autograd: Attention: shapes do not fit")
	}
	y := t.Tensor(q.Rows, q.Cols)
	op := &attentionOp{q, k, v, y, bounds, heads, t.arena.alloc(q.Rows * heads.Queries)}
	op.forward()
	t.lap(PartAttention)
	if q.needs || k.needs || v.needs {
		y.needs = true
		t.push(op)
	}
	return y
}

// span is one block of queries of one head: rows from to to-1 of the batch, of the sequence that starts at first.
type span struct{ first, from, to, head int }

// keys is the number of keys the last query of the block sees.
func (s span) keys() int { return s.to - s.first }

// blocks counts the query blocks of one sequence.
func blocks(length int) int { return (length + queryBlock - 1) / queryBlock }

// spanOf is block number task among all blocks, heads and sequences.
func (op *attentionOp) spanOf(task int) span {
	for s := range len(op.bounds) - 1 {
		first, end := int(op.bounds[s]), int(op.bounds[s+1])
		n := blocks(end-first) * op.heads.Queries
		if task < n {
			from := first + task/op.heads.Queries*queryBlock
			return span{first, from, min(end, from+queryBlock), task % op.heads.Queries}
		}
		task -= n
	}
	panic("autograd: attention task out of range")
}

func (op *attentionOp) forward() {
	tasks := 0
	for s := range len(op.bounds) - 1 {
		tasks += blocks(int(op.bounds[s+1]-op.bounds[s])) * op.heads.Queries
	}
	kernels.Parallel(tasks, func(task int) {
		s := op.spanOf(task)
		p := takeScratch((s.to - s.from) * s.keys())
		op.scores(p.floats, s)
		op.softmax(p.floats, s)
		hd, n := op.heads.Dim, s.keys()
		y := op.y.Data[s.from*op.y.Cols+s.head*hd:]
		v := op.v.Data[s.first*op.v.Cols+op.keyHead(s)*hd:]
		kernels.Gemm(false, false, s.to-s.from, hd, n, 1, p.floats, n, v, op.v.Cols, 0, y, op.y.Cols)
		p.give()
	})
}

func (op *attentionOp) keyHead(s span) int { return s.head / (op.heads.Queries / op.heads.Keys) }

// scores is p (block, keys) = scale·q·kᵀ, of unseen keys too.
func (op *attentionOp) scores(p []float32, s span) {
	hd, n := op.heads.Dim, s.keys()
	q := op.q.Data[s.from*op.q.Cols+s.head*hd:]
	k := op.k.Data[s.first*op.k.Cols+op.keyHead(s)*hd:]
	kernels.Gemm(false, true, s.to-s.from, n, hd, op.heads.Scale, q, op.q.Cols, k, op.k.Cols, 0, p, n)
}

// softmax turns scores into probabilities, zero for keys after the query, and keeps the logarithms of the sums.
func (op *attentionOp) softmax(p []float32, s span) {
	n := s.keys()
	for i := s.from; i < s.to; i++ {
		row := p[(i-s.from)*n:][:n]
		seen := row[:i-s.first+1]
		top := kernels.Max(seen)
		sum := kernels.ExpSum(seen, top)
		kernels.Scale(1/sum, seen)
		clear(row[len(seen):])
		op.logSum[i*op.heads.Queries+s.head] = top + float32(math.Log(float64(sum)))
	}
}

// backward runs over sequences and key heads side by side: the gradients of a key head come from its query heads,
// one after the other.
func (op *attentionOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	for _, x := range []*Tensor{op.q, op.k, op.v} {
		if x.needs {
			t.grad(x)
		}
	}
	group := op.heads.Queries / op.heads.Keys
	kernels.Parallel((len(op.bounds)-1)*op.heads.Keys, func(task int) {
		s, keyHead := task/op.heads.Keys, task%op.heads.Keys
		first, end := int(op.bounds[s]), int(op.bounds[s+1])
		for head := keyHead * group; head < (keyHead+1)*group; head++ {
			for from := first; from < end; from += queryBlock {
				op.backwardBlock(span{first, from, min(end, from+queryBlock), head})
			}
		}
	})
}

// backwardBlock adds what one block of queries owes to the gradients of q, k and v.
func (op *attentionOp) backwardBlock(s span) {
	hd, n, m := op.heads.Dim, s.keys(), s.to-s.from
	qAt, kvAt := s.from*op.q.Cols+s.head*hd, s.first*op.k.Cols+op.keyHead(s)*hd
	dy := op.y.Grad[qAt:]
	scratch := takeScratch(2 * m * n)
	defer scratch.give()
	p, ds := scratch.floats[:m*n], scratch.floats[m*n:]

	op.scores(p, s)
	for i := range m {
		row := p[i*n:][:n]
		seen := row[:s.from+i-s.first+1]
		kernels.ExpSum(seen, op.logSum[(s.from+i)*op.heads.Queries+s.head])
		clear(row[len(seen):])
	}
	if op.v.needs { // dv += pᵀ·dy
		kernels.Gemm(true, false, n, hd, m, 1, p, n, dy, op.y.Cols, 1, op.v.Grad[kvAt:], op.v.Cols)
	}
	if !op.q.needs && !op.k.needs {
		return
	}
	kernels.Gemm(false, true, m, n, hd, 1, dy, op.y.Cols, op.v.Data[kvAt:], op.v.Cols, 0, ds, n) // dp = dy·vᵀ
	for i := range m {                                                                           // ds = p·(dp - dy·y)
		at := qAt + i*op.q.Cols
		delta := kernels.Dot(op.y.Grad[at:at+hd], op.y.Data[at:at+hd])
		probs, grads := p[i*n:][:n], ds[i*n:][:n]
		for j, prob := range probs {
			grads[j] = prob * (grads[j] - delta)
		}
	}
	if op.q.needs { // dq += scale·ds·k
		kernels.Gemm(false, false, m, hd, n, op.heads.Scale, ds, n, op.k.Data[kvAt:], op.k.Cols, 1, op.q.Grad[qAt:], op.q.Cols)
	}
	if op.k.needs { // dk += scale·dsᵀ·q
		kernels.Gemm(true, false, n, hd, m, op.heads.Scale, ds, n, op.q.Data[qAt:], op.q.Cols, 1, op.k.Grad[kvAt:], op.k.Cols)
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
