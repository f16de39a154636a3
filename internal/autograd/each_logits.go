package autograd

import "github.com/peftconv/peftconv/kernels"

// eachLogits is EachLogits at work on some rows.
type eachLogits struct {
	form   Logits
	vocab  int
	from   int       // the first of the current rows
	logits []float32 // (n, V)
	f      func(i int, logits []float32)
}

// EachLogits calls f with the logits (V) of each row of h (T, D), which form makes of h·wᵀ, w (V, D). f may overwrite
// them, and is called from several goroutines. As many are in memory at once as LogitFloats says. No gradient passes.
func (t *Tape) EachLogits(h *Tensor, w kernels.Weights, form Logits, f func(i int, logits []float32)) {
	vocab, cols := w.Dims()
	if cols != h.Cols || form.Bias != nil && len(form.Bias) != vocab {
		panic("autograd: EachLogits: shapes do not fit")
	}
	most := max(logitFloats/vocab, 1)
	start := t.mark()
	op := &eachLogits{form: form, vocab: vocab, f: f}
	logits := t.arena.alloc(min(most, h.Rows) * vocab)
	for op.from = 0; op.from < h.Rows; op.from += most {
		n := min(most, h.Rows-op.from)
		op.logits = logits[:n*vocab]
		kernels.GemmWTPrec(t.precision, op.logits, h.Data[op.from*cols:(op.from+n)*cols], n, w, 0)
		t.rows(n, vocab, op)
	}
	t.release(start)
	t.lap(PartCrossEntropy)
}

func (op *eachLogits) rows(from, to int) {
	for i := from; i < to; i++ {
		row := op.logits[i*op.vocab:][:op.vocab]
		op.form.apply(row)
		op.f(op.from+i, row)
	}
}
