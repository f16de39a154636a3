package autograd

import (
	"math"

	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/kernels"
)

// logitFloats bounds the logits in memory at once: 16 MiB of float32.
const logitFloats = 4 << 20

// crossEntropyOp is the summed cross entropy of softmax(h·wᵀ) against targets, for the M rows that have one.
type crossEntropyOp struct {
	h       *Tensor
	w       kernels.Weights
	head    *Tensor // gradient of w, or nil
	rows    []int   // (M) row of h
	targets []int32 // (M)
	hidden  []float32
	logSum  []float32 // (M) log of the softmax denominator
	logits  []float32 // (M, V) when they fit in one chunk, else scratch of one chunk
	chunk   int       // vocabulary entries a chunk
	scale   float32
}

// CrossEntropy gives the loss -log softmax(h·wᵀ)[target] of every row of h (T, D) whose target is not
// batch.Ignore, in order (M of them), with w (V, D). The vocabulary is taken in chunks, so that T×V logits never
// exist. Backward seeds the gradient of scale times their sum. head (V, D), when not nil, collects the gradient
// of w. The returned slice lives as long as the tape's tensors.
func (t *Tape) CrossEntropy(h *Tensor, w kernels.Weights, head *Tensor, targets []int32, scale float32) []float32 {
	vocab, cols := w.Dims()
	if cols != h.Cols || len(targets) != h.Rows {
		panic("autograd: CrossEntropy: shapes do not fit")
	}
	op := &crossEntropyOp{h: h, w: w, head: head, scale: scale}
	for i, target := range targets {
		if target != batch.Ignore {
			op.rows, op.targets = append(op.rows, i), append(op.targets, target)
		}
	}
	m := len(op.rows)
	losses := t.arena.alloc(m)
	if m == 0 {
		return losses
	}
	op.hidden = t.arena.alloc(m * cols)
	for i, row := range op.rows {
		copy(op.hidden[i*cols:], h.Row(row))
	}
	op.logSum = t.arena.alloc(m)
	op.chunk = min(vocab, max(logitFloats/m, 256)&^255)
	op.logits = t.arena.alloc(m * op.chunk)
	op.forward(losses)
	t.lap(PartCrossEntropy)
	if h.needs || head != nil {
		t.push(op)
	}
	return losses
}

// chunkLogits makes the logits (M, n) of vocabulary entries from to to-1.
func (op *crossEntropyOp) chunkLogits(from, to int) []float32 {
	logits := op.logits[:len(op.rows)*(to-from)]
	kernels.GemmWT(logits, op.hidden, len(op.rows), kernels.RowRange(op.w, from, to), 0)
	return logits
}

// forward goes over the chunks with a running maximum and sum a row (Milakov, Gimelshein 2018, "Online normalizer
// calculation for softmax").
func (op *crossEntropyOp) forward(losses []float32) {
	vocab, _ := op.w.Dims()
	m := len(op.rows)
	top, sum := make([]float32, m), make([]float64, m)
	for i := range top {
		top[i] = float32(math.Inf(-1))
	}
	for from := 0; from < vocab; from += op.chunk {
		to := min(vocab, from+op.chunk)
		logits, n := op.chunkLogits(from, to), to-from
		forRows(m, func(i int) {
			row := logits[i*n:][:n]
			if target := int(op.targets[i]); target >= from && target < to {
				losses[i] = -row[target-from]
			}
			higher := max(top[i], kernels.Max(row))
			sum[i] *= math.Exp(float64(top[i] - higher))
			sum[i] += float64(op.expSum(row, higher))
			top[i] = higher
		})
	}
	for i := range losses {
		op.logSum[i] = top[i] + float32(math.Log(sum[i]))
		losses[i] += op.logSum[i]
	}
}

// expSum is Σ exp(row - top). Logits that backward will read again (all of them, in one chunk) are left alone.
func (op *crossEntropyOp) expSum(row []float32, top float32) float32 {
	if !op.whole() {
		return kernels.ExpSum(row, top)
	}
	s := takeScratch(len(row))
	defer s.give()
	copy(s.floats, row)
	return kernels.ExpSum(s.floats, top)
}

// whole says that one chunk holds the whole vocabulary.
func (op *crossEntropyOp) whole() bool {
	vocab, _ := op.w.Dims()
	return op.chunk == vocab
}

func (op *crossEntropyOp) backward(t *Tape) {
	vocab, cols := op.w.Dims()
	m := len(op.rows)
	start := t.mark()
	var dh []float32
	if op.h.needs {
		t.grad(op.h)
		start = t.mark()
		dh = t.arena.alloc(m * cols)
		clear(dh)
	}
	for from := 0; from < vocab; from += op.chunk {
		to := min(vocab, from+op.chunk)
		n := to - from
		logits := op.logits
		if !op.whole() {
			logits = op.chunkLogits(from, to)
		}
		op.toGradient(logits, from, n)
		if dh != nil {
			kernels.GemmW(dh, logits, m, kernels.RowRange(op.w, from, to), 1)
		}
		if op.head != nil {
			kernels.Gemm(true, false, n, cols, m, 1, logits, n, op.hidden, cols, 1, op.head.Grad[from*cols:], cols)
		}
	}
	if dh != nil {
		forRows(m, func(i int) { kernels.Add(op.h.gradRow(op.rows[i]), dh[i*cols:(i+1)*cols]) })
	}
	t.release(start)
}

// toGradient turns logits (M, n) of entries from … into the gradient scale·(softmax - onehot).
func (op *crossEntropyOp) toGradient(logits []float32, from, n int) {
	forRows(len(op.rows), func(i int) {
		row := logits[i*n:][:n]
		kernels.ExpSum(row, op.logSum[i])
		kernels.Scale(op.scale, row)
		if target := int(op.targets[i]); target >= from && target < from+n {
			row[target-from] -= op.scale
		}
	})
}
