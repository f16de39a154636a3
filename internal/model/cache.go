package model

import (
	"fmt"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/quant"
)

// cache is the keys or the values of a layer, of the tokens that a session has read.
type cache struct {
	kind       gguf.Type // F32, F16 or Q8_0
	heads, dim int
	size       int       // positions there is room for
	floats     []float32 // of F32: (size, heads·dim)
	blocks     []byte    // else: (heads, size, dim)
}

func newCache(kind gguf.Type, size, heads, width int) *cache {
	c := &cache{kind: kind, heads: heads, size: size}
	if heads > 0 {
		c.dim = width / heads
	}
	if kind == gguf.F32 {
		c.floats = make([]float32, size*width)
	} else {
		c.blocks = make([]byte, size*heads*c.headBytes())
	}
	return c
}

// headBytes are those of one head of one position.
func (c *cache) headBytes() int { return c.dim / c.kind.BlockLen() * c.kind.BlockSize() }

// store puts rows (n, heads·dim) at position at.
func (c *cache) store(at int, x []float32) {
	width := c.heads * c.dim
	if c.kind == gguf.F32 {
		copy(c.floats[at*width:], x)
		return
	}
	n := c.headBytes()
	for ; len(x) > 0; x, at = x[width:], at+1 {
		for h := range c.heads {
			block := c.blocks[(h*c.size+at)*n:][:n]
			quant.Quantize(c.kind, block, x[h*c.dim:(h+1)*c.dim], c.dim, nil)
		}
	}
}

// Rows implements autograd.CachedRows.
func (c *cache) Rows(dst []float32, head, from, n int) {
	size := c.headBytes()
	quant.Dequantize(c.kind, dst[:n*c.dim], c.blocks[(head*c.size+from)*size:(head*c.size+from+n)*size])
}

// rows is what attention reads.
func (c *cache) rows() autograd.Cached {
	if c.kind == gguf.F32 {
		return autograd.Cached{Floats: c.floats}
	}
	return autograd.Cached{Rows: c}
}

// values are the first n positions as float32 (n, heads·dim).
func (c *cache) values(n int) []float32 {
	width := c.heads * c.dim
	if c.kind == gguf.F32 {
		return c.floats[:n*width]
	}
	x, head := make([]float32, n*width), make([]float32, n*c.dim)
	for h := range c.heads {
		c.Rows(head, h, 0, n)
		for i := range n {
			copy(x[i*width+h*c.dim:][:c.dim], head[i*c.dim:])
		}
	}
	return x
}

// copy is a copy of the first n positions, with room for as many as c.
func (c *cache) copy(n int) *cache {
	other := *c
	other.floats, other.blocks = make([]float32, len(c.floats)), make([]byte, len(c.blocks))
	copy(other.floats, c.floats[:min(len(c.floats), n*c.heads*c.dim)])
	size := c.headBytes()
	for h := range c.heads {
		if at := h * c.size * size; len(c.blocks) > 0 {
			copy(other.blocks[at:], c.blocks[at:at+n*size])
		}
	}
	return &other
}

// CacheTypes are the types in which a session can keep keys and values, by name.
var CacheTypes = map[string]gguf.Type{"f32": gguf.F32, "f16": gguf.F16, "q8_0": gguf.Q8_0}

// CheckCache reports why a session of the model cannot keep keys and values in a type.
func (m *Model) CheckCache(kind gguf.Type) error {
	n := kind.BlockLen()
	for _, l := range m.Layers {
		if s := l.Spec; l.KeyWidth() > 0 && (s.HeadDim%n != 0 || s.Values()%n != 0) {
			return fmt.Errorf("keys and values in %s: layer %d has heads of %d and %d values, expected multiples of %d",
				kind, l.Index, s.HeadDim, s.Values(), n)
		}
	}
	return nil
}
