package autograd

import (
	"math"

	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/kernels"
)

// LogitFloats bounds the logits in memory at once.
const LogitFloats = 32 << 20

// logitFloats is LogitFloats; tests change it.
var logitFloats = LogitFloats

// Logits says how the product z = h·wᵀ becomes logits: cap·tanh(scale·(z + bias)/cap).
type Logits struct {
	Scale float32   // 0: 1
	Cap   float32   // 0: none, scale·(z + bias)
	Bias  []float32 // (V), or nil: none
}

// scale is Scale, or 1.
func (l *Logits) scale() float32 {
	if l.Scale == 0 {
		return 1
	}
	return l.Scale
}

// apply makes the logits of one row from products (V).
func (l *Logits) apply(row []float32) {
	if l.Bias != nil {
		kernels.Add(row, l.Bias)
	}
	if l.scale() != 1 {
		kernels.Scale(l.scale(), row)
	}
	if l.Cap != 0 {
		kernels.SoftCap(l.Cap, row)
	}
}

// slopes are the derivatives 1 - (z/cap)² of capped logits z with respect to what the cap was put on.
func (l *Logits) slopes(slopes, row []float32) {
	copy(slopes, row)
	kernels.Mul(slopes, row)
	kernels.Scale(-1/(l.Cap*l.Cap), slopes)
	kernels.Shift(1, slopes)
}

// logitsTask makes logits of the rows of y.
type logitsTask struct {
	y *Tensor
	Logits
}

// ApplyLogits makes logits of products y (T, V) of hidden rows and the output head, in place. No gradient passes
// through it: see CrossEntropy.
func (t *Tape) ApplyLogits(y *Tensor, l Logits) *Tensor {
	if l.Bias != nil && len(l.Bias) != y.Cols {
		panic("autograd: ApplyLogits: biases and vocabulary differ")
	}
	t.rows(y.Rows, y.Cols, &logitsTask{y, l})
	t.lap(PartCrossEntropy)
	return y
}

func (l *logitsTask) rows(from, to int) {
	for i := from; i < to; i++ {
		l.apply(l.y.Row(i))
	}
}

// crossEntropyOp is the summed cross entropy of softmax(logits) against targets, for the M rows that have one.
type crossEntropyOp struct {
	h        *Tensor
	w        kernels.Weights
	index    []int     // (M) row of h
	targets  []int32   // (M)
	hidden   []float32 // (M, D) those rows
	dhidden  []float32 // (M, D) their gradient, where it is wanted
	losses   []float32 // (M)
	logits   []float32 // (block, V) of the current rows, and then their gradient
	vocab    int
	from     int // the first of the current rows
	scale    float32
	form     Logits
	by       Criterion
	gradient bool // logits become their gradient
	fresh    bool // the gradient of h is new

	// The gradient of a token's logits is one number near 1 and thousands near 0, which a common int8 scale would
	// round to 0. So for int8 the number of the target is kept apart, and its product is computed in float32.
	apart []float32 // (M)
}

// CrossEntropy returns the loss -log softmax(logits)[target] of every row of h (T, D) whose target is not batch.Ignore,
// in order (M of them), with the logits that form makes of h·wᵀ, w (V, D). Backward seeds the gradient of scale times
// their sum. head (V, D), when not nil, collects the gradient of w at once; with fewer columns, that of the last
// columns of w. Logits are computed once, for some rows at a time, and only for rows with a target; their gradient is
// computed right after the loss. The returned slice lives as long as the tape's tensors.
func (t *Tape) CrossEntropy(h *Tensor, w kernels.Weights, head *Tensor, targets []int32, scale float32,
	form Logits) []float32 {
	return t.Loss(h, w, head, targets, scale, form, nil)
}

// A Criterion is a loss of logits in place of cross entropy. Rows are numbered as the losses are.
type Criterion interface {
	// Begin comes before n rows from number first on.
	Begin(first, n int)
	// Row gives the loss of a row of logits (V) before which stands target. With gradient it puts the derivative of the
	// loss, times scale, in the place of the logits, which it may overwrite in any case. It is called from several
	// goroutines.
	Row(i int, target int32, logits []float32, scale float32, gradient bool) float32
}

// Loss is CrossEntropy by a criterion; nil is cross entropy.
func (t *Tape) Loss(h *Tensor, w kernels.Weights, head *Tensor, targets []int32, scale float32, form Logits,
	by Criterion) []float32 {
	vocab, cols := w.Dims()
	if cols != h.Cols || len(targets) != h.Rows || form.Bias != nil && len(form.Bias) != vocab {
		panic("autograd: CrossEntropy: shapes do not fit")
	}
	op := t.pools.crossEntropy.take()
	*op = crossEntropyOp{h: h, w: w, vocab: vocab, scale: scale, form: form, by: by, index: op.index[:0],
		targets: op.targets[:0]}
	for i, target := range targets {
		if target != batch.Ignore {
			op.index, op.targets = append(op.index, i), append(op.targets, target)
		}
	}
	m := len(op.index)
	op.losses = t.arena.alloc(m)
	losses := op.losses
	if m > 0 {
		wanted := t.record && h.needs
		op.hidden = t.arena.alloc(m * cols)
		if wanted {
			op.dhidden = t.arena.alloc(m * cols)
		}
		op.gradient = wanted || t.record && head != nil
		if wanted && head == nil && t.precision == kernels.Int8 {
			op.apart = t.arena.alloc(m)
		}
		t.rows(m, cols, (*pickHidden)(op))
		op.forward(t, head)
	}
	t.lap(PartCrossEntropy)
	t.keep(op, m > 0 && h.needs)
	return losses
}

// pickHidden copies the rows with a target.
type pickHidden crossEntropyOp

func (op *pickHidden) rows(from, to int) {
	for i := from; i < to; i++ {
		copy(op.hidden[i*op.h.Cols:], op.h.Row(op.index[i]))
	}
}

// forward computes losses and gradients, for as many rows at a time as logits fit, in pieces of about equal size.
func (op *crossEntropyOp) forward(t *Tape, head *Tensor) {
	m, cols, vocab := len(op.index), op.h.Cols, op.vocab
	most := max(logitFloats/vocab, 1)
	blocks := (m + most - 1) / most
	size := (m + blocks - 1) / blocks
	start := t.mark()
	op.logits = t.arena.alloc(size * vocab)
	for op.from = 0; op.from < m; op.from += size {
		n := min(size, m-op.from)
		logits, hidden := op.logits[:n*vocab], op.hidden[op.from*cols:(op.from+n)*cols]
		if op.by != nil {
			op.by.Begin(op.from, n)
		}
		kernels.GemmWTPrec(t.precision, logits, hidden, n, op.w, 0)
		t.rows(n, vocab, op)
		if op.dhidden != nil {
			kernels.GemmWPrec(t.precision, op.dhidden[op.from*cols:(op.from+n)*cols], logits, n, op.w, 0)
			op.addApart(t, n)
		}
		if op.gradient && head != nil {
			kernels.Gemm(true, false, vocab, head.Cols, n, 1, logits, vocab, hidden[cols-head.Cols:], cols, 1, head.Grad,
				head.Cols)
		}
	}
	op.logits = nil
	t.release(start)
}

// rows computes the loss of each row and turns its products into their gradient, scale·(softmax - onehot) times the
// derivative of the logits.
func (op *crossEntropyOp) rows(from, to int) {
	var slopes []float32
	if op.form.Cap != 0 && op.gradient {
		s := takeScratch(op.vocab)
		defer s.give()
		slopes = s.floats
	}
	scale := op.scale * op.form.scale()
	for i := from; i < to; i++ {
		row := op.logits[i*op.vocab:][:op.vocab]
		op.form.apply(row)
		if slopes != nil {
			op.form.slopes(slopes, row)
		}
		target := op.targets[op.from+i]
		if op.by != nil {
			op.losses[op.from+i] = op.by.Row(op.from+i, target, row, scale, op.gradient)
		} else {
			op.losses[op.from+i] = crossEntropy(row, target, scale, op.gradient)
		}
		if slopes != nil {
			kernels.Mul(row, slopes)
		}
		if op.apart != nil {
			op.apart[op.from+i], row[target] = row[target], 0
		}
	}
}

// crossEntropy is the Criterion of the same name, for one row.
func crossEntropy(row []float32, target int32, scale float32, gradient bool) float32 {
	top, logit := kernels.Max(row), row[target]
	sum := kernels.ExpSum(row, top)
	if gradient {
		kernels.Scale(scale/sum, row)
		row[target] -= scale
	}
	return top + float32(math.Log(float64(sum))) - logit
}

// addApart adds the gradients of the targets' logits to those of the hidden rows, where they were kept apart.
func (op *crossEntropyOp) addApart(t *Tape, n int) {
	if op.apart != nil {
		t.rows(n, op.h.Cols, (*apartGradient)(op))
	}
}

// apartGradient dequantizes the rows of w over the hidden rows, which are not needed once their logits are computed.
type apartGradient crossEntropyOp

func (op *apartGradient) rows(from, to int) {
	cols := op.h.Cols
	for i := op.from + from; i < op.from+to; i++ {
		row := op.hidden[i*cols : (i+1)*cols]
		op.w.Tile(row, cols, int(op.targets[i]), int(op.targets[i])+1, 0, cols)
		kernels.Axpy(op.apart[i], row, op.dhidden[i*cols:(i+1)*cols])
	}
}

// backward adds the gradient that forward made to that of h.
func (op *crossEntropyOp) backward(t *Tape) {
	if op.dhidden == nil {
		return
	}
	op.fresh = t.startGrad(op.h)
	if op.fresh {
		clear(op.h.Grad)
	}
	t.rows(len(op.index), op.h.Cols, (*crossEntropyBackward)(op))
}

type crossEntropyBackward crossEntropyOp

func (op *crossEntropyBackward) rows(from, to int) {
	cols := op.h.Cols
	for i := from; i < to; i++ {
		kernels.Add(op.h.gradRow(op.index[i]), op.dhidden[i*cols:(i+1)*cols])
	}
}
