package autograd

import "github.com/peftconv/peftconv/kernels"

// Embedding is y (T, D): row ids[i] of the frozen table w (V, D), zeros where an id is negative. Every id must be below
// V.
func (t *Tape) Embedding(ids []int32, w kernels.Weights) *Tensor {
	_, cols := w.Dims()
	y := t.Tensor(len(ids), cols)
	t.lookup = lookupTask{ids, w, y}
	t.rows(y.Rows, y.Cols, &t.lookup)
	t.lookup = lookupTask{}
	t.lap(PartEmbedding)
	return y
}

// lookupTask fetches rows of a table.
type lookupTask struct {
	ids []int32
	w   kernels.Weights
	y   *Tensor
}

func (l *lookupTask) rows(from, to int) {
	for i := from; i < to; i++ {
		if l.ids[i] < 0 {
			clear(l.y.Row(i))
			continue
		}
		l.w.Tile(l.y.Row(i), l.y.Cols, int(l.ids[i]), int(l.ids[i])+1, 0, l.y.Cols)
	}
}

// tapEmbeddingOp collects the gradient of a table's rows.
type tapEmbeddingOp struct {
	ids  []int32
	y, w *Tensor
}

// TapEmbedding returns y, which Embedding made from ids, unchanged; backward adds its gradient rows to the rows of the
// gradient of w (V, D), except where an id is negative: full training of an embedding table.
func (t *Tape) TapEmbedding(y *Tensor, ids []int32, w *Tensor) *Tensor {
	if len(ids) != y.Rows || w.Cols != y.Cols {
		panic("autograd: TapEmbedding: shapes do not fit")
	}
	y.needs = true
	t.push(&tapEmbeddingOp{ids, y, w})
	return y
}

func (op *tapEmbeddingOp) backward(*Tape) {
	if op.y.Grad == nil {
		return
	}
	for i, id := range op.ids {
		if id < 0 {
			continue
		}
		kernels.Add(op.w.gradRow(int(id)), op.y.gradRow(i))
	}
}
