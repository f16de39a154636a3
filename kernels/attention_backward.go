package kernels

// backwardHead is AttentionBackward of one query head in one sequence. Gradients of keys and values are collected as
// columns, so the scores need no packing for them.
func (a *attention) backwardHead(i int) {
	s, head := i/a.Queries, i%a.Queries
	keys := int(a.Bounds[s+1] - a.Bounds[s])
	if keys == 0 {
		return
	}
	w := attentionScratches.Get()
	defer attentionScratches.Put(w)
	ld := a.gradientLD(keys)
	clear(grow(&w.keysT, ceilDiv(a.Dim, a.mr)*a.mr*ld))
	clear(grow(&w.valuesT, ceilDiv(a.valueDim(), a.mr)*a.mr*ld))
	for number := range ceilDiv(keys, a.height) {
		b := a.blockOf(s, head, number)
		a.backwardBlock(w, &b, ld)
	}
	a.storeGradient(w, a.dk, a.partK, w.keysT, s, head, a.Dim, ld)
	a.storeGradient(w, a.dv, a.partV, w.valuesT, s, head, a.valueDim(), ld)
}

// gradientLD is the distance of the rows of gradients for this many keys.
func (a *attention) gradientLD(keys int) int { return ceilDiv(keys, a.unit)*a.unit + blockLen }

// backwardBlock adds the gradients of one block of queries.
func (a *attention) backwardBlock(w *attentionScratch, b *queryBlock, ld int) {
	dim := a.valueDim()
	a.packQueries(w, &w.q, a.q, b, a.Dim, a.Dim, a.Scale)
	a.packQueries(w, &w.dy, a.dy, b, dim, dim+1, 1)
	a.packDelta(w, b)
	a.packElements(w, &w.qT, a.q, b, a.Dim, a.Scale)
	a.packElements(w, &w.dyT, a.dy, b, dim, 1)
	a.beginSum(w)
	grow(&w.dscores, a.height*scoreLD)
	if a.Cap > 0 {
		grow(&w.capped, a.height*scoreLD)
		grow(&w.times, keyBlock)
	}
	keys := b.seen(b.rows-1, 0)
	for j := b.firstKey(a.unit); j < keys; j += keyBlock {
		n := min(keyBlock, keys-j)
		a.multiplyColumns(w.scores, w.q, a.keysT, b, j, n, a.Dim)
		a.probabilities(w, b, j, n)
		a.addColumns(w, w.valuesT, w.dyT, w.scores, b, j, n, dim, ld)
		if a.dq == nil && a.dk == nil {
			continue
		}
		a.multiplyColumns(w.dscores, w.dy, a.valuesT, b, j, n, dim+1)
		a.scoreGradients(w, b, j, n)
		a.addColumns(w, w.keysT, w.qT, w.dscores, b, j, n, a.Dim, ld)
		a.addRows(w, w.dscores, b, j, n)
	}
	if a.dq != nil {
		for r := range b.rows {
			Axpy(a.Scale, w.sum[r*a.dims*a.nr:][:a.Dim], a.row(a.dq, b.from+r, b.head, a.Dim))
		}
	}
}

// packDelta appends -dot(dy, y) of each query below its packed dy. The product with the ones below the values then
// subtracts it from each gradient of a probability. What is left is the gradient of the score divided by the
// probability.
func (a *attention) packDelta(w *attentionScratch, b *queryBlock) {
	dim := a.valueDim()
	size := a.panelLen(dim + 1)
	for r := range b.rows {
		_, height := a.panelRows(r/a.mr, b.rows)
		delta := Dot(a.row(a.dy, b.from+r, b.head, dim), a.row(a.y, b.from+r, b.head, dim))
		if a.pairs {
			w.dy[r/a.mr*size+dim/2*height+r%a.mr] = twoOf(-delta)
		} else {
			w.dy[r/a.mr*size+dim*height+r%a.mr] = -delta
		}
	}
}

// packElements packs a head's rows of a block, of dim elements, into panels for products over queries.
func (a *attention) packElements(w *attentionScratch, dst *[]float32, x []float32, b *queryBlock, dim int,
	scale float32) {
	if a.pairs {
		a.packElementPairs(w, dst, x, b, dim, scale)
		return
	}
	size := a.panelLen(a.height)
	grow(dst, ceilDiv(dim, a.mr)*size)
	for e := range ceilDiv(dim, a.mr) {
		n, height := a.panelRows(e, dim)
		panel := (*dst)[e*size:][:size]
		pack(panel, height, x[(b.from*a.Queries+b.head)*dim+e*a.mr:], a.Queries*dim, 1, b.rows, n)
		if scale != 1 {
			Scale(scale, panel[:b.rows*height])
		}
	}
}

// probabilities turns products into probabilities.
func (a *attention) probabilities(w *attentionScratch, b *queryBlock, j, n int) {
	for r := range b.rows {
		row := w.scores[r*scoreLD:][:scoreLD]
		from, to := b.sees(r, j, n)
		a.clearUnseen(row, r, from, to, n, b, j)
		if from >= to {
			continue
		}
		var capped []float32
		if a.Cap > 0 {
			capped = w.capped[r*scoreLD:][:scoreLD]
		}
		row = a.scoresOf(row, capped, b, r, j, from, to)
		ExpSum(row, a.logSum[(b.from+r)*a.Queries+b.head])
	}
}

// scoreGradients multiplies by the probabilities, and by the derivative of the cap.
func (a *attention) scoreGradients(w *attentionScratch, b *queryBlock, j, n int) {
	for r := range b.rows {
		row := w.dscores[r*scoreLD:][:scoreLD]
		from, to := b.sees(r, j, n)
		if from < to {
			Mul(row[from:to], w.scores[r*scoreLD:][from:to])
		}
		if a.Cap > 0 && from < to {
			a.uncap(row[from:to], w.capped[r*scoreLD:][from:to], w.times)
		}
		a.clearUnseen(row, r, from, to, n, b, j)
	}
}

// uncap turns the gradients of capped scores into those of the scores before:
//
//	for i := range d { d[i] -= d[i] * (capped[i]/Cap)² }
func (a *attention) uncap(d, capped, times []float32) {
	times = times[:len(d)]
	copy(times, d)
	Mul(times, capped)
	Mul(times, capped)
	Axpy(-1/(a.Cap*a.Cap), times, d)
}

// addColumns adds to gradients (dim, keys) the products of packed elements with the scores of keys j to j+n-1, of the
// queries that see at least one key of a panel.
func (a *attention) addColumns(w *attentionScratch, gradient, elements, scores []float32, b *queryBlock,
	j, n, dim, ld int) {
	size := a.panelLen(a.height)
	if a.pairs && b.rows%2 != 0 {
		clear(scores[b.rows*scoreLD:][:keyBlock])
	}
	for c := 0; c < n; c += a.nr {
		skip := max(-b.seen(0, j+c)+1, 0)                          // queries before the panel's first key
		end := min(b.rows, b.window-b.seen(0, j+c)+min(a.nr, n-c)) // those beyond it have none of its keys
		if skip >= end {
			continue
		}
		if a.pairs {
			a.addColumnPairs(w, gradient[j+c:], elements, scores[c:], skip/2, (end+1)/2, dim, ld)
			continue
		}
		for e := range ceilDiv(dim, a.mr) {
			_, height := a.panelRows(e, dim)
			dst := gradient[e*a.mr*ld+j+c:]
			tile(height, end-skip, elements[e*size+skip*height:], scores[skip*scoreLD+c:], scoreLD, dst, ld, true)
		}
	}
}

// storeGradient adds a head's gradient (dim, keys) to dst, or where heads share keys sets its part.
func (a *attention) storeGradient(w *attentionScratch, dst, part, gradient []float32, s, head, dim, ld int) {
	if dst == nil {
		return
	}
	first, keys := int(a.Bounds[s]), int(a.Bounds[s+1]-a.Bounds[s])
	width := round16(dim)
	packTransposed(grow(&w.gradient, keys*width+packSlack), width, gradient, ld, keys, dim)
	for i := range keys {
		row := w.gradient[i*width:][:dim]
		if a.Queries == a.Keys {
			Add(a.row(dst, first+i, head, dim), row)
		} else {
			copy(a.row(part, first+i, head, dim), row)
		}
	}
}

// reduceHeads adds up what the query heads that share keys add to some rows of dk and dv.
func (a *attention) reduceHeads(i int) {
	for row := i * reduceRows; row < min(a.rows(), (i+1)*reduceRows); row++ {
		a.addParts(a.dk, a.partK, row, a.Dim)
		a.addParts(a.dv, a.partV, row, a.valueDim())
	}
}

// addParts adds the query heads' parts of one row to a gradient of heads of dim elements, if it is wanted.
func (a *attention) addParts(dst, part []float32, row, dim int) {
	if dst == nil {
		return
	}
	group := a.Queries / a.Keys
	for head := range a.Queries {
		at := (row*a.Keys + head/group) * dim
		Add(dst[at:at+dim], a.row(part, row, head, dim))
	}
}
