package kernels

import "math"

// forwardBlock is Attention of one block of queries.
func (a *attention) forwardBlock(i int) {
	b := a.block(i)
	w := attentionScratches.Get()
	defer attentionScratches.Put(w)
	a.packQueries(w, &w.q, a.q, &b, a.Dim, a.Dim, a.Scale)
	a.beginSum(w)
	a.addSinks(w, b.head)
	keys := b.seen(b.rows-1, 0)
	for j := b.firstKey(a.unit); j < keys; j += keyBlock {
		n := min(keyBlock, keys-j)
		a.multiplyColumns(w.scores, w.q, a.keysT, &b, j, n, a.Dim)
		for r := range b.rows {
			a.softmaxRow(w, &b, r, j, n)
		}
		a.addRows(w, w.scores, &b, j, n)
	}
	for r := range b.rows {
		a.finishRow(w, &b, r)
	}
}

// beginSum makes room for scores and clears the sums.
func (a *attention) beginSum(w *attentionScratch) {
	grow(&w.scores, a.height*scoreLD)
	clear(grow(&w.sum, a.height*a.dims*a.nr))
	clear(grow(&w.total, a.height))
	for i := range grow(&w.top, a.height) {
		w.top[i] = float32(math.Inf(-1))
	}
}

// addSinks begins each softmax with the score of the sink, which adds to the denominator alone.
func (a *attention) addSinks(w *attentionScratch, head int) {
	if a.Sinks == nil {
		return
	}
	for i := range w.top {
		w.top[i], w.total[i] = a.Sinks[head], 1
	}
}

// softmaxRow turns the scores of query r into exponentials relative to the largest so far, and rescales the sums of
// earlier blocks when the largest grows (Milakov, Gimelshein 2018, "Online normalizer calculation for softmax").
func (a *attention) softmaxRow(w *attentionScratch, b *queryBlock, r, j, n int) {
	row := w.scores[r*scoreLD:][:scoreLD]
	from, to := b.sees(r, j, n)
	a.clearUnseen(row, r, from, to, n, b, j)
	if from >= to {
		return
	}
	row = a.scoresOf(row, nil, b, r, j, from, to)
	top, begun := w.top[r], w.total[r] > 0
	if higher := Max(row); higher > top || !begun {
		w.top[r] = higher
		if begun {
			less := expGeneric(top - higher)
			w.total[r] *= less
			ld := a.dims * a.nr
			Scale(less, w.sum[r*ld:(r+1)*ld])
		}
	}
	w.total[r] += ExpSum(row, w.top[r])
}

// finishRow stores the result of query r.
func (a *attention) finishRow(w *attentionScratch, b *queryBlock, r int) {
	y := a.row(a.y, b.from+r, b.head, a.across)
	copy(y, w.sum[r*a.dims*a.nr:])
	Scale(1/w.total[r], y)
	if a.logSum != nil {
		a.logSum[(b.from+r)*a.Queries+b.head] = w.top[r] + float32(math.Log(float64(w.total[r])))
	}
}
