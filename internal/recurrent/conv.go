package recurrent

import "github.com/peftconv/peftconv/kernels"

// Conv is a depthwise causal convolution with frozen weights over a packed batch: with zeros before each sequence,
//
//	y[t][c] = f(bias[c] + sum over j < Kernel of weight[c][j] · x[t-Kernel+1+j][c])
//
// and f is SiLU or the identity.
type Conv struct {
	Channels, Kernel int
	Weight           []float32 // (Channels, Kernel)
	Bias             []float32 // (Channels), or nil
	SiLU             bool
	Bounds           []int32 // sequence s is tokens Bounds[s] to Bounds[s+1]-1

	// of the call in progress
	x, y, dx, dy, state []float32
}

// A part is some channels of the tokens of a chunk: long enough pieces of rows that memory is read in order.
const convWidth = 1024

// Forward computes y (T, Channels) of x (T, Channels). A state (Kernel-1, Channels) has the inputs before the one
// sequence of the batch, oldest first, and then the last of it; nil: zeros, and as many sequences as there are.
func (c *Conv) Forward(y, x, state []float32) {
	c.check(len(x), len(y))
	check(state == nil || len(state) == (c.Kernel-1)*c.Channels && len(c.Bounds) == 2, "Conv: state does not fit")
	c.x, c.y, c.state = x, y, state
	divide(c.parts(), len(x)*c.Kernel, (*convForward)(c))
	c.x, c.y, c.state = nil, nil, nil
	if state != nil {
		keep := min(len(state), len(x))
		copy(state, state[keep:])
		copy(state[len(state)-keep:], x[len(x)-keep:])
	}
}

// Backward adds to dx the gradient of x, given that of y.
func (c *Conv) Backward(dx, dy, x []float32) {
	c.check(len(x), len(dy))
	check(len(dx) == len(x), "Conv: gradients do not fit")
	c.x, c.dx, c.dy = x, dx, dy
	divide(c.parts(), 2*len(x)*c.Kernel, (*convBackward)(c))
	c.x, c.dx, c.dy = nil, nil, nil
}

func (c *Conv) check(x, y int) {
	rows := int(c.Bounds[len(c.Bounds)-1])
	check(x == rows*c.Channels && y == x, "Conv: inputs do not fit the bounds")
	check(len(c.Weight) == c.Channels*c.Kernel, "Conv: weights do not fit")
	check(c.Bias == nil || len(c.Bias) == c.Channels, "Conv: biases do not fit")
}

// parts is the number of chunks times that of pieces of the channels.
func (c *Conv) parts() int { return allChunks(c.Bounds) * c.pieces() }

func (c *Conv) pieces() int { return (c.Channels + convWidth - 1) / convWidth }

// convPart is some channels of a chunk.
type convPart struct {
	*Conv
	start, end  int // tokens of the sequence
	from, to    int // tokens of the chunk
	first, wide int // channels
	weight      []float32
}

// open finds part i and makes its weights (Kernel, wide).
func (c *Conv) open(i int, s *scratch) convPart {
	p := convPart{Conv: c, first: i % c.pieces() * convWidth}
	p.start, p.end, p.from, p.to = chunkAt(c.Bounds, i/c.pieces())
	p.wide = min(convWidth, c.Channels-p.first)
	p.weight = s.take(c.Kernel * p.wide)
	for j := range c.Kernel {
		row := p.tap(j)
		for k := range row {
			row[k] = c.Weight[(p.first+k)*c.Kernel+j]
		}
	}
	return p
}

// tap is the weights of tap j.
func (p *convPart) tap(j int) []float32 { return p.weight[j*p.wide : (j+1)*p.wide] }

// at is the part's channels of row t of x.
func (p *convPart) at(x []float32, t int) []float32 { return x[t*p.Channels+p.first:][:p.wide] }

// input is the part's inputs of token t, which may lie before the sequence: nil for zeros.
func (p *convPart) input(t int) []float32 {
	switch {
	case t >= p.start:
		return p.at(p.x, t)
	case p.state != nil:
		return p.at(p.state, t-p.start+p.Kernel-1)
	}
	return nil
}

// sum is the convolution of token t, without SiLU.
func (p *convPart) sum(y []float32, t int) {
	if p.Bias != nil {
		copy(y, p.Bias[p.first:])
	} else {
		clear(y)
	}
	for j := range p.Kernel {
		if x := p.input(t - p.Kernel + 1 + j); x != nil {
			kernels.MulAdd(y, p.tap(j), x)
		}
	}
}

type convForward Conv

func (c *convForward) part(i int, s *scratch) {
	p := (*Conv)(c).open(i, s)
	sums := p.newSums(s)
	for t := p.from; t < p.to; t++ {
		y := p.at(p.y, t)
		p.sum(y, t)
		if p.SiLU {
			kernels.SwiGLU(y, y, sums.ones)
		}
	}
}

type convBackward Conv

// part goes through the tokens from the last to the first, and through those after the chunk that it reaches, with the
// gradients of the sums of Kernel tokens.
func (c *convBackward) part(i int, s *scratch) {
	p := (*Conv)(c).open(i, s)
	ring := s.take(p.Kernel * p.wide)
	slot := func(t int) []float32 { return ring[t%p.Kernel*p.wide:][:p.wide] }
	sums := p.newSums(s)
	end := min(p.to+p.Kernel-1, p.end)
	for t := end - 1; t >= p.from; t-- {
		p.sumGradient(slot(t), t, &sums)
		if t >= p.to {
			continue
		}
		dx := p.at(p.dx, t)
		for j := range p.Kernel {
			if after := t + p.Kernel - 1 - j; after < end {
				kernels.MulAdd(dx, p.tap(j), slot(after))
			}
		}
	}
}

// convSums is memory for the sum of a token and what SiLU needs.
type convSums struct{ sum, ones, unused []float32 }

func (p *convPart) newSums(s *scratch) convSums {
	m := convSums{s.take(p.wide), s.take(p.wide), s.take(p.wide)}
	for k := range m.ones {
		m.ones[k], m.unused[k] = 1, 0
	}
	return m
}

// sumGradient makes d the gradient of the sum of token t.
func (p *convPart) sumGradient(d []float32, t int, m *convSums) {
	if !p.SiLU {
		copy(d, p.at(p.dy, t))
		return
	}
	p.sum(m.sum, t)
	clear(d)
	kernels.SwiGLUBackward(d, m.unused, p.at(p.dy, t), m.sum, m.ones)
}
