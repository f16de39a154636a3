package recurrent

import "github.com/peftconv/peftconv/kernels"

// The chunk form. Rows of Q, K and V are the n tokens of a chunk of one value head; S (ValueDim, KeyDim) is the state
// before the chunk; D_ij = exp(gamma_i - gamma_j) for i >= j; E = diag(exp(gamma_i)), F = diag(exp(gamma_n-gamma_i)):
//
//	A = strictly lower part of (beta_i·k_i·k_j·D_ij);   P = (Q·Kᵀ ∘ D) / sqrt(KeyDim)
//	R = V - E·K·Sᵀ;   U = (I + A)⁻¹·diag(beta)·R        the rows of U are the changes that the tokens make
//	Y = E·Q·Sᵀ / sqrt(KeyDim) + P·U
//	S = exp(gamma_n)·S + Uᵀ·F·K

// deltaChunk is a chunk of the value heads that share a key head.
type deltaChunk struct {
	*Delta
	key   int // head
	from  int // token
	n     int // tokens
	decay *decay

	keys    []float32 // (n, n) K·Kᵀ
	queries []float32 // (n, n) Q·Kᵀ / sqrt(KeyDim)
	a, p    []float32 // (n, n) of one value head
	r, u    []float32 // (n, ValueDim)
}

func (d *Delta) newChunk(key int, s *scratch) deltaChunk {
	const square = chunkLen * chunkLen
	return deltaChunk{Delta: d, key: key, decay: &s.decay, keys: s.take(square), queries: s.take(square),
		a: s.take(square), p: s.take(square),
		r: s.take(chunkLen * d.Heads.ValueDim), u: s.take(chunkLen * d.Heads.ValueDim)}
}

// q and k are the rows of the chunk's queries and keys, keyWidth apart.
func (c *deltaChunk) q() []float32 { return c.ofKey(c.Q, c.from, c.key) }
func (c *deltaChunk) k() []float32 { return c.ofKey(c.K, c.from, c.key) }

// open goes to tokens from to to-1 and multiplies queries and keys.
func (c *deltaChunk) open(from, to int) {
	c.from, c.n = from, to-from
	width, dim := c.keyWidth(), c.Heads.KeyDim
	kernels.Gemm(false, true, c.n, c.n, dim, 1, c.k(), width, c.k(), width, 0, c.keys, chunkLen)
	kernels.Gemm(false, true, c.n, c.n, dim, c.scale(), c.q(), width, c.k(), width, 0, c.queries, chunkLen)
}

// beta is how much of its change token i of the chunk makes in a value head.
func (c *deltaChunk) beta(i, head int) float32 { return c.Beta[(c.from+i)*c.Heads.ValueHeads+head] }

// prepare computes the decays, A, P, R and U of a value head; a nil state is zero.
func (c *deltaChunk) prepare(head int, state []float32) {
	sum := 0.0
	for i := range c.n {
		sum += float64(c.G[(c.from+i)*c.Heads.ValueHeads+head])
		c.decay.gamma[i] = sum
	}
	c.decay.set(c.n)
	for i := range c.n {
		row, decays := i*chunkLen, c.decay.row(i)
		copy(c.p[row:row+i+1], c.queries[row:])
		clear(c.p[row+i+1 : row+c.n])
		kernels.Mul(c.p[row:row+i+1], decays[:i+1])
		copy(c.a[row:row+i], c.keys[row:])
		kernels.Mul(c.a[row:row+i], decays[:i])
		kernels.Scale(c.beta(i, head), c.a[row:row+i])
	}
	c.change(head, state)
}

// change computes R and U.
func (c *deltaChunk) change(head int, state []float32) {
	dim, keyDim := c.Heads.ValueDim, c.Heads.KeyDim
	if state != nil {
		kernels.Gemm(false, true, c.n, dim, keyDim, -1, c.k(), c.keyWidth(), state, keyDim, 0, c.r, dim)
	}
	v := c.ofValue(c.V, c.from, head)
	for i := range c.n {
		r, value := c.r[i*dim:(i+1)*dim], v[i*c.valueWidth():][:dim]
		if state == nil {
			copy(r, value)
		} else {
			kernels.Scale(c.decay.start[i], r)
			kernels.Add(r, value)
		}
		u := c.u[i*dim : (i+1)*dim]
		copy(u, r)
		kernels.Scale(c.beta(i, head), u)
	}
	solve(c.a, c.u, c.n, dim)
}

// deltaForward is the chunk form, one sequence and key head a part.
type deltaForward Delta

func (d *deltaForward) part(i int, s *scratch) {
	n, h := (*Delta)(d), d.Heads
	from, to, chunk := span(d.Bounds, i/h.KeyHeads)
	c := n.newChunk(i%h.KeyHeads, s)
	states := d.state
	if states == nil {
		states = s.take(h.StateLen())
	}
	for at := from; at < to; at += chunkLen {
		c.open(at, min(at+chunkLen, to))
		for i := range h.shared() {
			head := h.valueHead(c.key, i)
			place := head * h.headLen()
			state := states[place : place+h.headLen()]
			first := at == from && d.state == nil
			if first {
				clear(state)
			}
			if d.starts != nil {
				copy(d.starts[chunk*h.StateLen()+place:], state)
			}
			c.forward(head, state, first)
		}
		chunk++
	}
}

// forward computes the results of a value head, and its state after the chunk; the state before is zero in the first
// chunk.
func (c *deltaChunk) forward(head int, state []float32, first bool) {
	dim, keyDim, ldy := c.Heads.ValueDim, c.Heads.KeyDim, c.valueWidth()
	y, beta := c.ofValue(c.y, c.from, head), float32(0)
	if first {
		c.prepare(head, nil)
	} else {
		c.prepare(head, state)
		kernels.Gemm(false, true, c.n, dim, keyDim, c.scale(), c.q(), c.keyWidth(), state, keyDim, 0, y, ldy)
		scaleRows(y, ldy, dim, c.decay.start[:c.n], 1)
		beta = 1
	}
	kernels.Gemm(false, false, c.n, dim, c.n, 1, c.p, chunkLen, c.u, dim, beta, y, ldy)
	scaleRows(c.u, dim, dim, c.decay.end[:c.n], 1)
	kernels.Gemm(true, false, dim, keyDim, c.n, 1, c.u, dim, c.k(), c.keyWidth(), c.decay.total, state, keyDim)
}

// deltaBackward goes back through the chunks, one sequence and key head a part.
type deltaBackward Delta

// deltaChunkBackward is what backward needs beside the chunk.
type deltaChunkBackward struct {
	deltaChunk
	du       []float32         // (n, ValueDim) gradient of U, then of diag(beta)·R
	dp, da   []float32         // (n, n) gradients of P and A
	rows     []float32         // (n, KeyDim)
	dqueries []float32         // (n, n) gradient of Q·Kᵀ, of all value heads
	dkeys    []float32         // (n, n) gradient of K·Kᵀ and its transpose, of all value heads
	dgamma   [chunkLen]float64 // of one value head
	dbeta    [chunkLen]float32 // of one value head
}

func (d *deltaBackward) part(i int, s *scratch) {
	const square = chunkLen * chunkLen
	n, h := (*Delta)(d), d.Heads
	from, to, chunk := span(d.Bounds, i/h.KeyHeads)
	c := deltaChunkBackward{deltaChunk: n.newChunk(i%h.KeyHeads, s), du: s.take(chunkLen * h.ValueDim),
		dp: s.take(square), da: s.take(square), rows: s.take(chunkLen * h.KeyDim),
		dqueries: s.take(square), dkeys: s.take(square)}
	dstates := s.take(h.shared() * h.headLen())
	for last := chunks(to-from) - 1; last >= 0; last-- {
		at := from + last*chunkLen
		c.open(at, min(at+chunkLen, to))
		clear(c.dqueries)
		clear(c.dkeys)
		for i := range h.shared() {
			head := h.valueHead(c.key, i)
			state := d.starts[(chunk+last)*h.StateLen()+head*h.headLen():][:h.headLen()]
			c.backward(head, state, dstates[i*h.headLen():(i+1)*h.headLen()], last == 0, at+chunkLen >= to)
		}
		c.close()
	}
}

// close adds the gradients of the products of queries and keys, which all value heads share.
func (c *deltaChunkBackward) close() {
	width, dim := c.keyWidth(), c.Heads.KeyDim
	dq, dk := c.ofKey(c.grads.Q, c.from, c.key), c.ofKey(c.grads.K, c.from, c.key)
	kernels.Gemm(false, false, c.n, dim, c.n, c.scale(), c.dqueries, chunkLen, c.k(), width, 1, dq, width)
	kernels.Gemm(true, false, c.n, dim, c.n, c.scale(), c.dqueries, chunkLen, c.q(), width, 1, dk, width)
	kernels.Gemm(false, false, c.n, dim, c.n, 1, c.dkeys, chunkLen, c.k(), width, 1, dk, width)
}

// backward adds the gradients of a value head, and turns that of its state after the chunk into that before. The state
// before the first chunk is zero, and so is the gradient after the last.
func (c *deltaChunkBackward) backward(head int, state, dstate []float32, first, last bool) {
	if first {
		c.prepare(head, nil)
	} else {
		c.prepare(head, state)
	}
	for i := range c.n {
		c.dgamma[i] = 0
	}
	c.throughChange(head, dstate, last)
	if !last {
		c.throughEnd(state, dstate, first)
	}
	if !first {
		c.throughQuery(head, state)
	}
	c.throughPairs(head)
	c.throughStart(head, state, dstate, first, last)
	sum := 0.0
	for i := c.n - 1; i >= 0; i-- {
		sum += c.dgamma[i]
		at := (c.from+i)*c.Heads.ValueHeads + head
		c.grads.G[at] += float32(sum)
		c.grads.Beta[at] += c.dbeta[i]
	}
}

// throughChange computes dU = F·K·dSᵀ + Pᵀ·dY and dP = dY·Uᵀ, then, with B = diag(beta)·R, dB = (I + A)⁻ᵀ·dU and
// dA = -dB·Uᵀ.
func (c *deltaChunkBackward) throughChange(head int, dstate []float32, last bool) {
	dim, keyDim, ldy := c.Heads.ValueDim, c.Heads.KeyDim, c.valueWidth()
	dy, beta := c.ofValue(c.dy, c.from, head), float32(0)
	if !last {
		kernels.Gemm(false, true, c.n, dim, keyDim, 1, c.k(), c.keyWidth(), dstate, keyDim, 0, c.du, dim)
		scaleRows(c.du, dim, dim, c.decay.end[:c.n], 1)
		beta = 1
	}
	kernels.Gemm(true, false, c.n, dim, c.n, 1, c.p, chunkLen, dy, ldy, beta, c.du, dim)
	kernels.Gemm(false, true, c.n, c.n, dim, 1, dy, ldy, c.u, dim, 0, c.dp, chunkLen)
	solveTransposed(c.a, c.du, c.n, dim)
	kernels.Gemm(false, true, c.n, c.n, dim, -1, c.du, dim, c.u, dim, 0, c.da, chunkLen)
}

// throughEnd goes back through F and the decay of the state: dK += F·U·dS.
func (c *deltaChunkBackward) throughEnd(state, dstate []float32, first bool) {
	dim, keyDim := c.Heads.ValueDim, c.Heads.KeyDim
	kernels.Gemm(false, false, c.n, keyDim, dim, 1, c.u, dim, dstate, keyDim, 0, c.rows, keyDim)
	dk, k, sum := c.ofKey(c.grads.K, c.from, c.key), c.k(), 0.0
	for i, end := range c.decay.end[:c.n] {
		row, at := c.rows[i*keyDim:(i+1)*keyDim], i*c.keyWidth()
		w := float64(end) * float64(kernels.Dot(row, k[at:at+keyDim]))
		c.dgamma[i] -= w
		sum += w
		kernels.Axpy(end, row, dk[at:at+keyDim])
	}
	if !first {
		sum += float64(c.decay.total) * float64(kernels.Dot(dstate, state))
	}
	c.dgamma[c.n-1] += sum
}

// throughQuery goes back through E·Q·Sᵀ: dQ += E·dY·S / sqrt(KeyDim).
func (c *deltaChunkBackward) throughQuery(head int, state []float32) {
	dim, keyDim := c.Heads.ValueDim, c.Heads.KeyDim
	dy := c.ofValue(c.dy, c.from, head)
	kernels.Gemm(false, false, c.n, keyDim, dim, c.scale(), dy, c.valueWidth(), state, keyDim, 0, c.rows, keyDim)
	dq, q := c.ofKey(c.grads.Q, c.from, c.key), c.q()
	for i, start := range c.decay.start[:c.n] {
		row, at := c.rows[i*keyDim:(i+1)*keyDim], i*c.keyWidth()
		c.dgamma[i] += float64(start) * float64(kernels.Dot(row, q[at:at+keyDim]))
		kernels.Axpy(start, row, dq[at:at+keyDim])
	}
}

// throughPairs goes back from dP and dA to the products of queries and keys, the decays between tokens, and beta.
func (c *deltaChunkBackward) throughPairs(head int) {
	dim := c.Heads.ValueDim
	for i := range c.n {
		beta, dbeta := c.beta(i, head), kernels.Dot(c.du[i*dim:(i+1)*dim], c.r[i*dim:(i+1)*dim])
		row, decays := i*chunkLen, c.decay.row(i)
		for j, decay := range decays[:i] {
			at := row + j
			c.dqueries[at] += c.dp[at] * decay
			d := c.da[at] * decay
			dbeta += d * c.keys[at]
			c.dkeys[at] += d * beta
			c.dkeys[j*chunkLen+i] += d * beta
			e := float64(c.dp[at]*c.p[at]) + float64(c.da[at]*c.a[at])
			c.dgamma[i] += e
			c.dgamma[j] -= e
		}
		c.dqueries[row+i] += c.dp[row+i]
		c.dbeta[i] = dbeta
	}
}

// throughStart goes from d(diag(beta)·R) to V and through E·K·Sᵀ, and to the state before the chunk:
// dS = exp(gamma_n)·dS + (E·dY)ᵀ·Q / sqrt(KeyDim) - (E·dR)ᵀ·K.
func (c *deltaChunkBackward) throughStart(head int, state, dstate []float32, first, last bool) {
	dim, keyDim, ldy, width := c.Heads.ValueDim, c.Heads.KeyDim, c.valueWidth(), c.keyWidth()
	dv := c.ofValue(c.grads.V, c.from, head)
	for i := range c.n {
		dr := c.du[i*dim : (i+1)*dim]
		kernels.Scale(c.beta(i, head), dr)
		kernels.Add(dv[i*ldy:i*ldy+dim], dr)
	}
	if first {
		return
	}
	scaleRows(c.du, dim, dim, c.decay.start[:c.n], 1)
	kernels.Gemm(false, false, c.n, keyDim, dim, -1, c.du, dim, state, keyDim, 0, c.rows, keyDim)
	dk, k := c.ofKey(c.grads.K, c.from, c.key), c.k()
	for i := range c.n {
		row, at := c.rows[i*keyDim:(i+1)*keyDim], i*width
		c.dgamma[i] += float64(kernels.Dot(row, k[at:at+keyDim]))
		kernels.Add(dk[at:at+keyDim], row)
	}
	total := c.decay.total
	if last {
		total = 0
	}
	kernels.Gemm(true, false, dim, keyDim, c.n, -1, c.du, dim, k, width, total, dstate, keyDim)
	copyScaled(c.r, dim, c.ofValue(c.dy, c.from, head), ldy, c.decay.start[:c.n], c.scale())
	kernels.Gemm(true, false, dim, keyDim, c.n, 1, c.r, dim, c.q(), width, 1, dstate, keyDim)
}
