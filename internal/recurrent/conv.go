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

// convWidth is the number of channels of a part.
const convWidth = 128

// Forward computes y (T, Channels) of x (T, Channels). A state (Kernel-1, Channels) has the inputs before the one
// sequence of the batch, oldest first, and then the last of it; nil: zeros, and as many sequences as there are.
func (c *Conv) Forward(y, x, state []float32) {
	c.check(len(x), len(y))
	check(state == nil || len(state) == (c.Kernel-1)*c.Channels && len(c.Bounds) == 2, "Conv: state does not fit")
	c.x, c.y, c.state = x, y, state
	divide(c.parts(), len(x)*c.Kernel, (*convForward)(c))
	c.x, c.y, c.state = nil, nil, nil
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

// parts is the number of sequences times that of pieces of the channels.
func (c *Conv) parts() int { return (len(c.Bounds) - 1) * c.pieces() }

func (c *Conv) pieces() int { return (c.Channels + convWidth - 1) / convWidth }

// convPart is some channels of one sequence.
type convPart struct {
	*Conv
	from, to    int // tokens
	first, wide int // channels
	weight      []float32
}

// open finds part i and makes its weights (Kernel, wide).
func (c *Conv) open(i int, s *scratch) convPart {
	from, to, _ := span(c.Bounds, i/c.pieces())
	p := convPart{Conv: c, from: from, to: to, first: i % c.pieces() * convWidth}
	p.wide = min(convWidth, c.Channels-p.first)
	p.weight = s.take(c.Kernel * p.wide)
	for j := range c.Kernel {
		for k := range p.wide {
			p.weight[j*p.wide+k] = c.Weight[(p.first+k)*c.Kernel+j]
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
	case t >= p.from:
		return p.at(p.x, t)
	case p.state != nil:
		return p.at(p.state, t-p.from+p.Kernel-1)
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
			addProducts(y, p.tap(j), x)
		}
	}
}

// addProducts is y[i] += a[i]·b[i].
func addProducts(y, a, b []float32) {
	a, b = a[:len(y)], b[:len(y)]
	for i := range y {
		y[i] += a[i] * b[i]
	}
}

type convForward Conv

func (c *convForward) part(i int, s *scratch) {
	p := (*Conv)(c).open(i, s)
	ones := s.take(p.wide)
	for k := range ones {
		ones[k] = 1
	}
	for t := p.from; t < p.to; t++ {
		y := p.at(p.y, t)
		p.sum(y, t)
		if p.SiLU {
			kernels.SwiGLU(y, y, ones)
		}
	}
	if p.state != nil {
		p.keepInputs(s)
	}
}

// keepInputs makes the last inputs the state.
func (p *convPart) keepInputs(s *scratch) {
	n := p.Kernel - 1
	last := s.take(n * p.wide)
	for j := range n {
		copy(last[j*p.wide:], p.input(p.to-n+j))
	}
	for j := range n {
		copy(p.at(p.state, j), last[j*p.wide:])
	}
}

type convBackward Conv

// part goes from the last token to the first with the gradients of the sums of Kernel tokens.
func (c *convBackward) part(i int, s *scratch) {
	p := (*Conv)(c).open(i, s)
	ring := s.take(p.Kernel * p.wide)
	ones, sum, unused := s.take(p.wide), s.take(p.wide), s.take(p.wide)
	for k := range ones {
		ones[k], unused[k] = 1, 0
	}
	slot := func(t int) []float32 { return ring[t%p.Kernel*p.wide:][:p.wide] }
	for t := p.to - 1; t >= p.from; t-- {
		d := slot(t)
		if p.SiLU {
			p.sum(sum, t)
			clear(d)
			kernels.SwiGLUBackward(d, unused, p.at(p.dy, t), sum, ones)
		} else {
			copy(d, p.at(p.dy, t))
		}
		dx := p.at(p.dx, t)
		for j := range p.Kernel {
			if after := t + p.Kernel - 1 - j; after < p.to {
				addProducts(dx, p.tap(j), slot(after))
			}
		}
	}
}
