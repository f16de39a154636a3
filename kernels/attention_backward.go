package kernels

// backwardHead is AttentionBackward of one query head in one sequence. Gradients of keys and values are collected as
// columns, so the scores need no packing for them.
func (a *attention) backwardHead(i int) {
	s, head := i/a.Queries, i%a.Queries
	keys := int(a.Bounds[s+1] - a.Bounds[s])
	if keys == 0 {
		return
	}
	w := attentionScratches.get()
	defer attentionScratches.put(w)
	ld := a.gradientLD(keys)
	clear(grow(&w.keysT, ceilDiv(a.Dim, a.mr)*a.mr*ld))
	clear(grow(&w.valuesT, ceilDiv(a.Dim, a.mr)*a.mr*ld))
	for number := range ceilDiv(keys, a.height) {
		b := a.blockOf(s, head, number)
		a.backwardBlock(w, &b, ld)
	}
	a.storeGradient(w, a.dk, a.partK, w.keysT, s, head, ld)
	a.storeGradient(w, a.dv, a.partV, w.valuesT, s, head, ld)
}

// gradientLD is the distance of the rows of gradients for this many keys.
func (a *attention) gradientLD(keys int) int { return ceilDiv(keys, a.unit)*a.unit + blockLen }

// backwardBlock adds the gradients of one block of queries.
func (a *attention) backwardBlock(w *attentionScratch, b *queryBlock, ld int) {
	a.packQueries(&w.q, a.q, b, a.Dim, a.Scale)
	a.packQueries(&w.dy, a.dy, b, a.Dim+1, 1)
	a.packDelta(w, b)
	a.packValues(&w.qT, a.q, b, a.Scale)
	a.packValues(&w.dyT, a.dy, b, 1)
	a.beginSum(w)
	grow(&w.dscores, a.height*scoreLD)
	keys := b.seen(b.rows-1, 0)
	for j := 0; j < keys; j += keyBlock {
		n := min(keyBlock, keys-j)
		a.multiplyColumns(w.scores, w.q, a.keysT, b, j, n, a.Dim)
		a.probabilities(w, b, j, n)
		a.addColumns(w.valuesT, w.dyT, w.scores, b, j, n, ld)
		if a.dq == nil && a.dk == nil {
			continue
		}
		a.multiplyColumns(w.dscores, w.dy, a.valuesT, b, j, n, a.Dim+1)
		a.scoreGradients(w, b, j, n)
		a.addColumns(w.keysT, w.qT, w.dscores, b, j, n, ld)
		a.addRows(w, w.dscores, b, j, n)
	}
	if a.dq != nil {
		for r := range b.rows {
			Axpy(a.Scale, w.sum[r*a.dims*a.nr:][:a.Dim], a.row(a.dq, b.from+r, b.head))
		}
	}
}

// packDelta appends -dot(dy, y) of each query below its packed dy. The product with the ones below the values then
// subtracts it from each gradient of a probability. What is left is the gradient of the score divided by the
// probability.
func (a *attention) packDelta(w *attentionScratch, b *queryBlock) {
	size := a.panelLen(a.Dim + 1)
	for r := range b.rows {
		_, height := a.panelRows(r/a.mr, b.rows)
		delta := Dot(a.row(a.dy, b.from+r, b.head), a.row(a.y, b.from+r, b.head))
		w.dy[r/a.mr*size+a.Dim*height+r%a.mr] = -delta
	}
}

// packValues packs a head's rows of a block into panels for products over queries.
func (a *attention) packValues(dst *[]float32, x []float32, b *queryBlock, scale float32) {
	size := a.panelLen(a.height)
	grow(dst, ceilDiv(a.Dim, a.mr)*size)
	for e := range ceilDiv(a.Dim, a.mr) {
		n, height := a.panelRows(e, a.Dim)
		panel := (*dst)[e*size:][:size]
		pack(panel, height, x[(b.from*a.Queries+b.head)*a.Dim+e*a.mr:], a.Queries*a.Dim, 1, b.rows, n)
		if scale != 1 {
			Scale(scale, panel[:b.rows*height])
		}
	}
}

// probabilities turns scores into probabilities.
func (a *attention) probabilities(w *attentionScratch, b *queryBlock, j, n int) {
	for r := range b.rows {
		row := w.scores[r*scoreLD:][:scoreLD]
		seen := max(min(n, b.seen(r, j)), 0)
		a.clearUnseen(row, r, seen, n, b, j)
		ExpSum(wholeRow(row, seen), a.logSum[(b.from+r)*a.Queries+b.head])
	}
}

// scoreGradients multiplies by the probabilities.
func (a *attention) scoreGradients(w *attentionScratch, b *queryBlock, j, n int) {
	for r := range b.rows {
		row := w.dscores[r*scoreLD:][:scoreLD]
		seen := max(min(n, b.seen(r, j)), 0)
		Mul(row[:seen], w.scores[r*scoreLD:][:seen])
		a.clearUnseen(row, r, seen, n, b, j)
	}
}

// addColumns adds to gradients (Dim, keys) the products of packed values with the scores of keys j to j+n-1, of the
// queries that see at least one key of a panel.
func (a *attention) addColumns(gradient, values, scores []float32, b *queryBlock, j, n, ld int) {
	size := a.panelLen(a.height)
	for c := 0; c < n; c += a.nr {
		skip := max(-b.seen(0, j+c)+1, 0) // queries before the panel's first key
		for e := range ceilDiv(a.Dim, a.mr) {
			_, height := a.panelRows(e, a.Dim)
			dst := gradient[e*a.mr*ld+j+c:]
			tile(height, b.rows-skip, values[e*size+skip*height:], scores[skip*scoreLD+c:], scoreLD, dst, ld, true)
		}
	}
}

// storeGradient adds a head's gradient (Dim, keys) to dst, or where heads share keys sets its part.
func (a *attention) storeGradient(w *attentionScratch, dst, part, gradient []float32, s, head, ld int) {
	if dst == nil {
		return
	}
	first, keys := int(a.Bounds[s]), int(a.Bounds[s+1]-a.Bounds[s])
	width := round16(a.Dim)
	packTransposed(grow(&w.gradient, keys*width+packSlack), width, gradient, ld, keys, a.Dim)
	for i := range keys {
		row := w.gradient[i*width:][:a.Dim]
		if a.Queries == a.Keys {
			Add(a.row(dst, first+i, head), row)
		} else {
			copy(a.row(part, first+i, head), row)
		}
	}
}

// reduceHeads adds up what the query heads that share keys add to some rows of dk and dv.
func (a *attention) reduceHeads(i int) {
	group := a.Queries / a.Keys
	for row := i * reduceRows; row < min(a.rows(), (i+1)*reduceRows); row++ {
		for head := range a.Queries {
			at := (row*a.Keys + head/group) * a.Dim
			if a.dk != nil {
				Add(a.dk[at:at+a.Dim], a.row(a.partK, row, head))
			}
			if a.dv != nil {
				Add(a.dv[at:at+a.Dim], a.row(a.partV, row, head))
			}
		}
	}
}
