package recurrent

import (
	"math"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/alloctest"
)

var testDeltaHeads = []DeltaHeads{
	{KeyHeads: 2, ValueHeads: 4, KeyDim: 16, ValueDim: 24},
	{KeyHeads: 2, ValueHeads: 4, KeyDim: 16, ValueDim: 24, Grouped: true},
	{KeyHeads: 1, ValueHeads: 1, KeyDim: 128, ValueDim: 128},
	{KeyHeads: 3, ValueHeads: 3, KeyDim: 5, ValueDim: 7},
}

func newDelta(h DeltaHeads, bounds []int32) *Delta {
	rows := int(bounds[len(bounds)-1])
	return &Delta{Heads: h, Bounds: bounds,
		Q:    normed(randoms(rows*h.KeyHeads*h.KeyDim, 1, 1), h.KeyDim),
		K:    normed(randoms(rows*h.KeyHeads*h.KeyDim, 2, 1), h.KeyDim),
		V:    randoms(rows*h.ValueHeads*h.ValueDim, 3, 1),
		G:    uniform(rows*h.ValueHeads, 4, -0.3, 0),
		Beta: uniform(rows*h.ValueHeads, 5, 0, 1)}
}

// run is y and the gradients of Forward and Backward.
func (d *Delta) run(dy []float32) (y []float32, grads DeltaGradients) {
	y, starts := make([]float32, len(d.V)), make([]float32, d.StartsLen())
	d.Forward(y, starts)
	grads = DeltaGradients{make([]float32, len(d.Q)), make([]float32, len(d.K)), make([]float32, len(d.V)),
		make([]float32, len(d.G)), make([]float32, len(d.Beta))}
	d.Backward(grads, dy, starts)
	return y, grads
}

func (d *Delta) compare(t *testing.T, tolerance float64) {
	t.Helper()
	dy := randoms(len(d.V), 6, 1)
	y, grads := d.run(dy)
	want := d.define(dy, nil)
	near(t, "y", y, want.y, tolerance)
	near(t, "dv", grads.V, want.v, tolerance)
	near(t, "dbeta", grads.Beta, want.beta, tolerance)
	near(t, "dq", grads.Q, want.q, tolerance)
	near(t, "dk", grads.K, want.k, tolerance)
	near(t, "dg", grads.G, want.g, tolerance)
}

// TestDeltaChunks compares the chunk form, forward and backward, with the recurrence in float64.
func TestDeltaChunks(t *testing.T) {
	for _, h := range testDeltaHeads {
		for _, lengths := range testLengths {
			t.Run(name(lengths), func(t *testing.T) { newDelta(h, boundsOf(lengths...)).compare(t, 2e-5) })
		}
	}
}

// TestDeltaDecays takes decays from none to total, some of them mixed.
func TestDeltaDecays(t *testing.T) {
	for what, decay := range map[string]func(i int) float32{
		"none":   func(int) float32 { return 0 },
		"strong": func(int) float32 { return -50 },
		"mixed":  func(i int) float32 { return [...]float32{-50, 0, -0.01, -1e-4, -3}[i%5] },
		"rare":   func(i int) float32 { return [...]float32{-1000, -1e-3, 0, -1e-3, 0, 0, -1e-3}[i%7] },
	} {
		t.Run(what, func(t *testing.T) {
			d := newDelta(testDeltaHeads[0], boundsOf(150, 40))
			for i := range d.G {
				d.G[i] = decay(i)
			}
			d.compare(t, 5e-5)
		})
	}
}

// TestDeltaSameKey has one key for all tokens, so that each change takes back what the one before made.
func TestDeltaSameKey(t *testing.T) {
	d := newDelta(testDeltaHeads[0], boundsOf(200))
	for i := d.keyWidth(); i < len(d.K); i++ {
		d.K[i] = d.K[i-d.keyWidth()]
	}
	for i := range d.Beta {
		d.Beta[i], d.G[i] = 0.5, -1e-3
	}
	d.compare(t, 1e-4)
}

// TestDeltaDefinition compares the gradients of the recurrence with its slopes.
func TestDeltaDefinition(t *testing.T) {
	d := newDelta(DeltaHeads{KeyHeads: 2, ValueHeads: 4, KeyDim: 3, ValueDim: 5}, boundsOf(4, 1, 6))
	dy := randoms(len(d.V), 6, 1)
	r := d.define(dy, nil)
	f := func() float64 { return weighed(d.define(nil, nil).y, dy) }
	slopes(t, "q", d.Q, r.q, f)
	slopes(t, "k", d.K, r.k, f)
	slopes(t, "v", d.V, r.v, f)
	slopes(t, "g", d.G, r.g, f)
	slopes(t, "beta", d.Beta, r.beta, f)
}

// part is tokens from to to-1 as a batch of its own.
func (d *Delta) cut(from, to int) *Delta {
	h := d.Heads
	rows := func(x []float32, width int) []float32 { return x[from*width : to*width] }
	return &Delta{Heads: h, Bounds: boundsOf(to - from), Q: rows(d.Q, d.keyWidth()), K: rows(d.K, d.keyWidth()),
		V: rows(d.V, d.valueWidth()), G: rows(d.G, h.ValueHeads), Beta: rows(d.Beta, h.ValueHeads)}
}

// TestDeltaContinues wants a sequence in pieces to be the sequence as a whole, and a state to matter.
func TestDeltaContinues(t *testing.T) {
	for _, h := range testDeltaHeads {
		for _, size := range []int{1, fewRows, 7, 64, 100} {
			d := newDelta(h, boundsOf(150))
			want, state, y := d.define(nil, nil), make([]float32, h.StateLen()), []float32(nil)
			for from := 0; from < 150; from += size {
				piece := d.cut(from, min(from+size, 150))
				out := make([]float32, len(piece.V))
				piece.Continue(out, state)
				y = append(y, out...)
			}
			near(t, "y", y, want.y, 2e-5)
			out := make([]float32, len(d.V))
			next := d.define(nil, state)
			d.Continue(out, state)
			near(t, "y after a state", out, next.y, 2e-5)
		}
	}
}

// TestDeltaPacked wants sequences that are packed to be what they are alone, to the bit, and any number of threads to
// give the same.
func TestDeltaPacked(t *testing.T) {
	h := testDeltaHeads[0]
	d := newDelta(h, boundsOf(testLengths[6]...))
	dy := randoms(len(d.V), 6, 1)
	var first []float32
	withThreads(t, func(threads int) {
		y, g := d.run(dy)
		all := slices.Concat(y, g.Q, g.K, g.V, g.G, g.Beta)
		if first == nil {
			first = all
		}
		same(t, "threads", all, first)
		for s := range len(d.Bounds) - 1 {
			from, to := int(d.Bounds[s]), int(d.Bounds[s+1])
			alone, ga := d.cut(from, to).run(dy[from*d.valueWidth() : to*d.valueWidth()])
			same(t, "y", y[from*d.valueWidth():], alone)
			same(t, "dq", g.Q[from*d.keyWidth():], ga.Q)
			same(t, "dk", g.K[from*d.keyWidth():], ga.K)
			same(t, "dv", g.V[from*d.valueWidth():], ga.V)
			same(t, "dg", g.G[from*h.ValueHeads:], ga.G)
			same(t, "dbeta", g.Beta[from*h.ValueHeads:], ga.Beta)
		}
	})
}

// TestSolve multiplies the solutions by their matrices again.
func TestSolve(t *testing.T) {
	for _, n := range []int{1, 2, 16, 17, 50, 64} {
		const w = 19
		a, x := randoms(chunkLen*chunkLen, 1, 0.3), randoms(n*w, 2, 1)
		for what, f := range map[string]func(a, x []float32, n, w int){"A": solve, "Aᵀ": solveTransposed} {
			y := slices.Clone(x)
			f(a, y, n, w)
			back := make([]float64, n*w)
			for i := range n {
				for j := range n {
					factor := 0.0
					switch {
					case i == j:
						factor = 1
					case what == "A" && j < i:
						factor = float64(a[i*chunkLen+j])
					case what != "A" && j > i:
						factor = float64(a[j*chunkLen+i])
					}
					for c := range w {
						back[i*w+c] += factor * float64(y[j*w+c])
					}
				}
			}
			near(t, what, x, back, 1e-3*math.Sqrt(float64(n)))
		}
	}
}

// BenchmarkDelta has the heads of Qwen3.5 9B: the chunk form forward and backward, and the recurrence. Operations are
// counted as the recurrence makes them: 8 a value of the state and token, and three times that in backward.
func BenchmarkDelta(b *testing.B) {
	h := DeltaHeads{KeyHeads: 16, ValueHeads: 32, KeyDim: 128, ValueDim: 128}
	for _, rows := range []int{512, 2048} {
		d := newDelta(h, boundsOf(rows))
		y, starts := make([]float32, len(d.V)), make([]float32, d.StartsLen())
		flops := 8 * float64(len(d.V)) * float64(h.KeyDim)
		bench(b, "forward", rows, flops, func() { d.Forward(y, nil) })
		dy := randoms(len(d.V), 6, 1)
		d.Forward(y, starts)
		_, grads := d.run(dy)
		bench(b, "backward", rows, 3*flops, func() { d.Backward(grads, dy, starts) })
		bench(b, "recurrence", rows, flops, func() {
			d.y, d.state = y, make([]float32, h.StateLen())
			divide(h.ValueHeads, d.work(), (*deltaSteps)(d))
			d.y, d.state = nil, nil
		})
	}
	d := newDelta(h, boundsOf(1))
	y, state := make([]float32, len(d.V)), make([]float32, h.StateLen())
	bench(b, "token", 1, 8*float64(len(d.V))*float64(h.KeyDim), func() { d.Continue(y, state) })
}

func TestDeltaAllocatesNothing(t *testing.T) {
	d := newDelta(testDeltaHeads[0], boundsOf(70, 3))
	dy := randoms(len(d.V), 6, 1)
	y, grads := d.run(dy)
	starts := make([]float32, d.StartsLen())
	withThreads(t, func(threads int) {
		if n := alloctest.Steady(20, func() { d.Forward(y, starts); d.Backward(grads, dy, starts) }); n > 0 {
			t.Errorf("%d threads: %g allocations", threads, n)
		}
	})
}
