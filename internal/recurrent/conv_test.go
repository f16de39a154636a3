package recurrent

import (
	"math"
	"slices"
	"testing"
)

func newConv(channels, kernel int, silu, bias bool, bounds []int32) (c *Conv, x []float32) {
	c = &Conv{Channels: channels, Kernel: kernel, Weight: randoms(channels*kernel, 1, 1), SiLU: silu, Bounds: bounds}
	if bias {
		c.Bias = randoms(channels, 2, 1)
	}
	return c, randoms(int(bounds[len(bounds)-1])*channels, 3, 1)
}

// define computes y in float64 and, given its gradient, that of x.
func (c *Conv) define(x, dy []float32) (y, dx []float64) {
	y, dx = make([]float64, len(x)), make([]float64, len(x))
	for s := range len(c.Bounds) - 1 {
		for t := int(c.Bounds[s]); t < int(c.Bounds[s+1]); t++ {
			for k := range c.Channels {
				sum := 0.0
				if c.Bias != nil {
					sum = float64(c.Bias[k])
				}
				for j := range c.Kernel {
					if from := t - c.Kernel + 1 + j; from >= int(c.Bounds[s]) {
						sum += float64(c.Weight[k*c.Kernel+j]) * float64(x[from*c.Channels+k])
					}
				}
				slope := 1.0
				y[t*c.Channels+k] = sum
				if c.SiLU {
					sig := 1 / (1 + math.Exp(-sum))
					y[t*c.Channels+k], slope = sum*sig, sig*(1+sum*(1-sig))
				}
				for j := range c.Kernel {
					if from := t - c.Kernel + 1 + j; dy != nil && from >= int(c.Bounds[s]) {
						dx[from*c.Channels+k] += float64(c.Weight[k*c.Kernel+j]) * slope * float64(dy[t*c.Channels+k])
					}
				}
			}
		}
	}
	return y, dx
}

// TestConv compares values and gradients with their definition.
func TestConv(t *testing.T) {
	for _, channels := range []int{5, 128, 300} {
		for _, kernel := range []int{1, 3, 4} {
			for _, silu := range []bool{false, true} {
				c, x := newConv(channels, kernel, silu, channels != 128, boundsOf(1, 2, 5, 40))
				dy := randoms(len(x), 4, 1)
				y, dx := make([]float32, len(x)), make([]float32, len(x))
				c.Forward(y, x, nil)
				c.Backward(dx, dy, x)
				want, slope := c.define(x, dy)
				near(t, "y", y, want, 2e-6)
				near(t, "dx", dx, slope, 5e-6)
			}
		}
	}
}

func TestConvDefinition(t *testing.T) {
	c, x := newConv(3, 4, true, true, boundsOf(2, 6))
	dy := randoms(len(x), 4, 1)
	_, dx := c.define(x, dy)
	slopes(t, "x", x, dx, func() float64 { y, _ := c.define(x, nil); return weighed(y, dy) })
}

// TestConvContinues wants a sequence in pieces to be the sequence as a whole, to the bit.
func TestConvContinues(t *testing.T) {
	for _, kernel := range []int{1, 2, 4} {
		for _, size := range []int{1, 2, 3, 7} {
			c, x := newConv(150, kernel, true, true, boundsOf(20))
			want, got := make([]float32, len(x)), make([]float32, len(x))
			c.Forward(want, x, nil)
			state := make([]float32, (kernel-1)*c.Channels)
			for from := 0; from < 20; from += size {
				to := min(from+size, 20)
				piece := *c
				piece.Bounds = boundsOf(to - from)
				piece.Forward(got[from*c.Channels:to*c.Channels], x[from*c.Channels:to*c.Channels], state)
			}
			same(t, "y", got, want)
			same(t, "state", state, x[(20-kernel+1)*c.Channels:])
		}
	}
}

// TestConvPacked wants sequences that are packed to be what they are alone, whatever the number of threads.
func TestConvPacked(t *testing.T) {
	c, x := newConv(300, 4, true, true, boundsOf(1, 30, 2, 70))
	dy, w := randoms(len(x), 4, 1), c.Channels
	var first []float32
	withThreads(t, func(int) {
		y, dx := make([]float32, len(x)), make([]float32, len(x))
		c.Forward(y, x, nil)
		c.Backward(dx, dy, x)
		all := slices.Concat(y, dx)
		if first == nil {
			first = all
		}
		same(t, "threads", all, first)
		for s := range len(c.Bounds) - 1 {
			from, to := int(c.Bounds[s])*w, int(c.Bounds[s+1])*w
			alone := *c
			alone.Bounds = boundsOf((to - from) / w)
			out, dout := make([]float32, to-from), make([]float32, to-from)
			alone.Forward(out, x[from:to], nil)
			alone.Backward(dout, dy[from:to], x[from:to])
			same(t, "y", y[from:], out)
			same(t, "dx", dx[from:], dout)
		}
	})
}

// BenchmarkConv has the channels of Qwen3.5 9B.
func BenchmarkConv(b *testing.B) {
	for _, rows := range []int{1, 512, 2048} {
		c, x := newConv(8192, 4, true, false, boundsOf(rows))
		y, dx := make([]float32, len(x)), make([]float32, len(x))
		flops := 2 * float64(len(x)*c.Kernel)
		bench(b, "forward", rows, flops, func() { c.Forward(y, x, nil) })
		bench(b, "backward", rows, 2*flops, func() { c.Backward(dx, x, x) })
	}
}
