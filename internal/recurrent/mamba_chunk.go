package recurrent

import "github.com/peftconv/peftconv/kernels"

// The chunk form. Rows of B and C are the n tokens of a chunk, those of X its inputs times dt in one head; S (HeadDim,
// State) is the state before the chunk; D_ij = exp(gamma_i - gamma_j) for i >= j; E = diag(exp(gamma_i)),
// F = diag(exp(gamma_n-gamma_i)):
//
//	Y = (C·Bᵀ ∘ D)·X + E·C·Sᵀ
//	S = exp(gamma_n)·S + (F·X)ᵀ·B
//
// Products with B, C and S are of several heads at once.

// mambaChunk is a chunk of some heads of a group.
type mambaChunk struct {
	*Mamba
	group       int
	head, heads int // the first head, and their number
	wide        int // columns of these heads
	from, n     int // the first token, and their number
	decay       *decay

	pairs  []float32 // (n, n) C·Bᵀ
	masked []float32 // (n, n) of one head: pairs ∘ D
	x      []float32 // (n, wide) inputs times dt, later F·X
}

// block is the chunk of part i, before its first token, and the sequence.
func (m *Mamba) block(i int, s *scratch) (c mambaChunk, seq int) {
	const square = chunkLen * chunkLen
	h := m.Heads
	blocks, of := h.blocks(), h.Heads/h.Groups
	c = mambaChunk{Mamba: m, group: i / blocks % h.Groups, decay: &s.decay}
	first := i % blocks * h.together()
	c.head, c.heads = c.group*of+first, min(h.together(), of-first)
	c.wide = c.heads * h.HeadDim
	c.pairs, c.masked, c.x = s.take(square), s.take(square), s.take(chunkLen*c.wide)
	return c, i / (blocks * h.Groups)
}

// b and c are the rows of the chunk's B and C, groupWidth apart.
func (c *mambaChunk) b() []float32 { return c.ofGroup(c.B, c.from, c.group) }
func (c *mambaChunk) c() []float32 { return c.ofGroup(c.C, c.from, c.group) }

// ofStates is the block's part (wide, State) of states.
func (c *mambaChunk) ofStates(states []float32) []float32 {
	return states[c.head*c.Heads.HeadDim*c.Heads.State:][:c.wide*c.Heads.State]
}

// ofOne is head number i of the block's part of a state, or of a gradient.
func (c *mambaChunk) ofOne(state []float32, i int) []float32 {
	size := c.Heads.HeadDim * c.Heads.State
	return state[i*size : (i+1)*size]
}

// open goes to tokens from to to-1, multiplies C and B, and inputs with dt.
func (c *mambaChunk) open(from, to int) {
	c.from, c.n = from, to-from
	width, state, dim := c.groupWidth(), c.Heads.State, c.Heads.HeadDim
	kernels.Gemm(false, true, c.n, c.n, state, 1, c.c(), width, c.b(), width, 0, c.pairs, chunkLen)
	for i := range c.n {
		row := c.x[i*c.wide : (i+1)*c.wide]
		copy(row, c.ofHead(c.X, from+i, c.head))
		for k := range c.heads {
			kernels.Scale(c.dt(i, k), row[k*dim:(k+1)*dim])
		}
	}
}

// dt is the time of token i of the chunk in head number k of the block.
func (c *mambaChunk) dt(i, k int) float32 { return c.DT[(c.from+i)*c.Heads.Heads+c.head+k] }

// setDecay computes the decays of head number k and masks the products of C and B.
func (c *mambaChunk) setDecay(k int) {
	sum, a := 0.0, float64(c.A[c.head+k])
	for i := range c.n {
		sum += float64(c.dt(i, k)) * a
		c.decay.gamma[i] = sum
	}
	c.decay.set(c.n)
	for i := range c.n {
		row := c.masked[i*chunkLen : i*chunkLen+c.n]
		copy(row[:i+1], c.pairs[i*chunkLen:])
		clear(row[i+1:])
		kernels.Mul(row[:i+1], c.decay.row(i)[:i+1])
	}
}

// mambaForward is the chunk form, some heads of one sequence a part.
type mambaForward Mamba

func (m *mambaForward) part(i int, s *scratch) {
	n, size := (*Mamba)(m), m.Heads.StateLen()
	c, seq := n.block(i, s)
	from, to, chunk := span(m.Bounds, seq)
	var state []float32
	if m.state != nil {
		state = c.ofStates(m.state)
	} else {
		state = s.take(c.wide * m.Heads.State)
		clear(state)
	}
	for at := from; at < to; at += chunkLen {
		if m.starts != nil {
			copy(c.ofStates(m.starts[chunk*size:(chunk+1)*size]), state)
		}
		c.open(at, min(at+chunkLen, to))
		c.forward(state, at == from && m.state == nil)
		chunk++
	}
}

// forward computes the results of the block, and its state after the chunk; the state before is zero in the first
// chunk.
func (c *mambaChunk) forward(state []float32, first bool) {
	width, dim, size := c.width(), c.Heads.HeadDim, c.Heads.State
	y := c.ofHead(c.y, c.from, c.head)
	if !first {
		kernels.Gemm(false, true, c.n, c.wide, size, 1, c.c(), c.groupWidth(), state, size, 0, y, width)
	}
	x := c.ofHead(c.X, c.from, c.head)
	for k := range c.heads {
		c.setDecay(k)
		y, x, scaled := y[k*dim:], x[k*dim:], c.x[k*dim:]
		for i, start := range c.decay.start[:c.n] {
			row := y[i*width : i*width+dim]
			if first {
				clear(row)
			} else {
				kernels.Scale(start, row)
			}
			kernels.Axpy(c.D[c.head+k], x[i*width:i*width+dim], row)
		}
		kernels.Gemm(false, false, c.n, dim, c.n, 1, c.masked, chunkLen, scaled, c.wide, 1, y, width)
		scaleRows(scaled, c.wide, dim, c.decay.end[:c.n], 1)
		kernels.Scale(c.decay.total, c.ofOne(state, k))
	}
	kernels.Gemm(true, false, c.wide, size, c.n, 1, c.x, c.wide, c.b(), c.groupWidth(), 1, state, size)
}

// mambaBackward goes back through the chunks, some heads of one sequence a part.
type mambaBackward Mamba

// mambaChunkBackward is what backward needs beside the chunk.
type mambaChunkBackward struct {
	mambaChunk
	dpairs []float32 // (n, n) gradient of C·Bᵀ, of all heads of the block
	dm     []float32 // (n, n) gradient of masked, of one head
	dx     []float32 // (n, wide) gradient of X
	before []float32 // (n, wide) C·Sᵀ, later E·dY
	after  []float32 // (n, wide) B·dSᵀ
	db, dc []float32 // gradients of B and C, or the block's part of them
	dgamma [chunkLen]float64
	totals []float32 // decays of the heads over the chunk
}

func (m *mambaBackward) part(i int, s *scratch) {
	const square = chunkLen * chunkLen
	n, size := (*Mamba)(m), m.Heads.StateLen()
	block, seq := n.block(i, s)
	c := mambaChunkBackward{mambaChunk: block, dpairs: s.take(square), dm: s.take(square),
		dx: s.take(chunkLen * block.wide), before: s.take(chunkLen * block.wide), after: s.take(chunkLen * block.wide),
		totals: s.take(block.heads), db: m.grads.B, dc: m.grads.C}
	from, to, chunk := span(m.Bounds, seq)
	if blocks := m.Heads.blocks(); blocks > 1 {
		c.db, c.dc = n.partial(i%blocks, 0), n.partial(i%blocks, 1)
		for t := from; t < to; t++ {
			clear(c.ofGroup(c.db, t, c.group)[:m.Heads.State])
			clear(c.ofGroup(c.dc, t, c.group)[:m.Heads.State])
		}
	}
	dstate := s.take(c.wide * m.Heads.State)
	clear(dstate)
	for last := chunks(to-from) - 1; last >= 0; last-- {
		at := from + last*chunkLen
		c.open(at, min(at+chunkLen, to))
		state := c.ofStates(m.starts[(chunk+last)*size : (chunk+last+1)*size])
		c.backward(state, dstate, last == 0, at+chunkLen >= to)
	}
}

// partial is the part of the gradient of B (which = 0) or C (1) that comes from one block of each group's heads.
func (m *Mamba) partial(block, which int) []float32 {
	return m.sums[(2*block+which)*len(m.B):][:len(m.B)]
}

// backward adds the gradients of a block, and turns that of its state after the chunk into that before. The state
// before the first chunk is zero, and so is the gradient after the last.
func (c *mambaChunkBackward) backward(state, dstate []float32, first, last bool) {
	size, width := c.Heads.State, c.groupWidth()
	if !first {
		kernels.Gemm(false, true, c.n, c.wide, size, 1, c.c(), width, state, size, 0, c.before, c.wide)
	}
	if !last {
		kernels.Gemm(false, true, c.n, c.wide, size, 1, c.b(), width, dstate, size, 0, c.after, c.wide)
	}
	for i := range c.n {
		clear(c.dpairs[i*chunkLen : i*chunkLen+c.n])
	}
	for k := range c.heads {
		c.backwardHead(k, state, dstate, first, last)
	}
	db, dc := c.ofGroup(c.db, c.from, c.group), c.ofGroup(c.dc, c.from, c.group)
	kernels.Gemm(false, false, c.n, size, c.n, 1, c.dpairs, chunkLen, c.b(), width, 1, dc, width)
	kernels.Gemm(true, false, c.n, size, c.n, 1, c.dpairs, chunkLen, c.c(), width, 1, db, width)
	if !last {
		kernels.Gemm(false, false, c.n, size, c.wide, 1, c.x, c.wide, dstate, size, 1, db, width)
		for k, total := range c.totals {
			kernels.Scale(total, c.ofOne(dstate, k))
		}
	}
	if !first {
		kernels.Gemm(false, false, c.n, size, c.wide, 1, c.before, c.wide, state, size, 1, dc, width)
		kernels.Gemm(true, false, c.wide, size, c.n, 1, c.before, c.wide, c.c(), width, 1, dstate, size)
	}
}

// backwardHead adds the gradients of x and dt in head number k, and that of C·Bᵀ.
func (c *mambaChunkBackward) backwardHead(k int, state, dstate []float32, first, last bool) {
	width, dim := c.width(), c.Heads.HeadDim
	c.setDecay(k)
	c.totals[k] = c.decay.total
	dy, x, dx := c.ofHead(c.dy, c.from, c.head+k), c.x[k*dim:], c.dx[k*dim:]
	kernels.Gemm(false, true, c.n, c.n, dim, 1, dy, width, x, c.wide, 0, c.dm, chunkLen)
	kernels.Gemm(true, false, c.n, dim, c.n, 1, c.masked, chunkLen, dy, width, 0, dx, c.wide)
	c.throughPairs()
	sum := 0.0
	for i := range c.n {
		at, dy := i*c.wide, dy[i*width:i*width+dim]
		if !first {
			row := c.before[at+k*dim:][:dim]
			c.dgamma[i] += float64(c.decay.start[i]) * float64(kernels.Dot(row, dy))
			copy(row, dy)
			kernels.Scale(c.decay.start[i], row)
		}
		if !last {
			row := c.after[at+k*dim:][:dim]
			kernels.Axpy(c.decay.end[i], row, dx[at:at+dim])
			w := float64(c.decay.end[i]) * float64(kernels.Dot(row, x[at:at+dim]))
			c.dgamma[i] -= w
			sum += w
		}
	}
	if !first && !last {
		sum += float64(c.decay.total) * float64(kernels.Dot(c.ofOne(state, k), c.ofOne(dstate, k)))
	}
	c.dgamma[c.n-1] += sum
	c.throughTimes(k)
	scaleRows(x, c.wide, dim, c.decay.end[:c.n], 1)
}

// throughPairs goes back through the mask to C·Bᵀ and the decays between tokens.
func (c *mambaChunkBackward) throughPairs() {
	for i := range c.n {
		c.dgamma[i] = 0
	}
	for i := range c.n {
		row := i * chunkLen
		for j, decay := range c.decay.row(i)[:i+1] {
			at := row + j
			c.dpairs[at] += c.dm[at] * decay
			e := float64(c.dm[at] * c.masked[at])
			c.dgamma[i] += e
			c.dgamma[j] -= e
		}
	}
}

// throughTimes goes from the gradients of gamma and of dt·x to those of dt and x.
func (c *mambaChunkBackward) throughTimes(k int) {
	width, dim, head, sum := c.width(), c.Heads.HeadDim, c.head+k, 0.0
	for i := c.n - 1; i >= 0; i-- {
		sum += c.dgamma[i]
		at := i * width
		dscaled := c.dx[i*c.wide+k*dim:][:dim]
		x, dx := c.ofHead(c.X, c.from, head)[at:at+dim], c.ofHead(c.grads.X, c.from, head)[at:at+dim]
		c.grads.DT[(c.from+i)*c.Heads.Heads+head] += float32(sum*float64(c.A[head])) + kernels.Dot(dscaled, x)
		kernels.Axpy(c.dt(i, k), dscaled, dx)
		kernels.Axpy(c.D[head], c.ofHead(c.dy, c.from, head)[at:at+dim], dx)
	}
}

// mambaSums adds the parts of the gradients of B and C, a chunk a part.
type mambaSums Mamba

func (m *mambaSums) part(i int, _ *scratch) {
	n, width := (*Mamba)(m), (*Mamba)(m).groupWidth()
	_, _, from, to := chunkAt(m.Bounds, i)
	for block := range m.Heads.blocks() {
		kernels.Add(m.grads.B[from*width:to*width], n.partial(block, 0)[from*width:to*width])
		kernels.Add(m.grads.C[from*width:to*width], n.partial(block, 1)[from*width:to*width])
	}
}
