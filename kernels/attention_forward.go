package kernels

import "math"

// forwardBlock is Attention of one block of queries.
func (a *attention) forwardBlock(i int) {
	b := a.block(i)
	w := attentionScratches.get()
	defer attentionScratches.put(w)
	a.packQueries(&w.q, a.q, &b, a.Dim, a.Scale)
	a.beginSum(w)
	keys := b.seen(b.rows-1, 0)
	for j := 0; j < keys; j += keyBlock {
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

// softmaxRow turns the scores of query r into exponentials relative to the largest so far, and rescales the sums of
// earlier blocks when the largest grows (Milakov, Gimelshein 2018, "Online normalizer calculation for softmax").
func (a *attention) softmaxRow(w *attentionScratch, b *queryBlock, r, j, n int) {
	row := w.scores[r*scoreLD:][:scoreLD]
	seen := min(n, b.seen(r, j))
	a.clearUnseen(row, r, max(seen, 0), n, b, j)
	if seen <= 0 {
		return
	}
	row = wholeRow(row, seen)
	top := w.top[r]
	if higher := Max(row); higher > top || j == 0 {
		w.top[r] = higher
		if j > 0 {
			less := expGeneric(top - higher)
			w.total[r] *= less
			ld := a.dims * a.nr
			Scale(less, w.sum[r*ld:(r+1)*ld])
		}
	}
	w.total[r] += ExpSum(row, w.top[r])
}

// wholeRow is the scores of a row up to the next whole block; unseen ones are so low that their exponentials are 0.
func wholeRow(row []float32, seen int) []float32 {
	row = row[:round16(seen)]
	for i := seen; i < len(row); i++ {
		row[i] = float32(math.Inf(-1))
	}
	return row
}

// finishRow stores the result of query r.
func (a *attention) finishRow(w *attentionScratch, b *queryBlock, r int) {
	y := a.row(a.y, b.from+r, b.head)
	copy(y, w.sum[r*a.dims*a.nr:])
	Scale(1/w.total[r], y)
	a.logSum[(b.from+r)*a.Queries+b.head] = w.top[r] + float32(math.Log(float64(w.total[r])))
}
