package recurrent

import (
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/alloctest"
)

var testMambaHeads = []MambaHeads{
	{Heads: 6, HeadDim: 8, Groups: 2, State: 16},
	{Heads: 9, HeadDim: 64, Groups: 1, State: 32}, // blocks of 4, 4 and 1 heads
	{Heads: 10, HeadDim: 64, Groups: 2, State: 24},
	{Heads: 3, HeadDim: 5, Groups: 3, State: 7},
}

func newMamba(h MambaHeads, bounds []int32) *Mamba {
	rows := int(bounds[len(bounds)-1])
	return &Mamba{Heads: h, Bounds: bounds,
		X:  randoms(rows*h.Heads*h.HeadDim, 1, 1),
		B:  randoms(rows*h.Groups*h.State, 2, 1),
		C:  randoms(rows*h.Groups*h.State, 3, 1),
		DT: uniform(rows*h.Heads, 4, 0, 0.3),
		A:  uniform(h.Heads, 5, -2, -0.1),
		D:  randoms(h.Heads, 6, 1)}
}

// run is y and the gradients of Forward and Backward.
func (m *Mamba) run(dy []float32) (y []float32, grads MambaGradients) {
	y, starts := make([]float32, len(m.X)), make([]float32, m.StartsLen())
	m.Forward(y, starts)
	grads = MambaGradients{make([]float32, len(m.X)), make([]float32, len(m.B)), make([]float32, len(m.C)),
		make([]float32, len(m.DT))}
	m.Backward(grads, dy, starts, randoms(m.SumsLen(), 9, 1))
	return y, grads
}

func (m *Mamba) compare(t *testing.T, tolerance float64) {
	t.Helper()
	dy := randoms(len(m.X), 6, 1)
	y, grads := m.run(dy)
	want := m.define(dy, nil)
	near(t, "y", y, want.y, tolerance)
	near(t, "dx", grads.X, want.x, tolerance)
	near(t, "db", grads.B, want.b, tolerance)
	near(t, "dc", grads.C, want.c, tolerance)
	near(t, "ddt", grads.DT, want.dt, tolerance)
}

// TestMambaChunks compares the chunk form, forward and backward, with the recurrence in float64.
func TestMambaChunks(t *testing.T) {
	for _, h := range testMambaHeads {
		for _, lengths := range testLengths {
			t.Run(name(lengths), func(t *testing.T) { newMamba(h, boundsOf(lengths...)).compare(t, 2e-5) })
		}
	}
}

// TestMambaDecays takes decays from none to total, some of them mixed.
func TestMambaDecays(t *testing.T) {
	for what, time := range map[string]func(i int) float32{
		"none":   func(int) float32 { return 0 },
		"strong": func(int) float32 { return 50 },
		"mixed":  func(i int) float32 { return [...]float32{50, 0, 0.01, 1e-4, 3}[i%5] },
	} {
		t.Run(what, func(t *testing.T) {
			m := newMamba(testMambaHeads[0], boundsOf(150, 40))
			for i := range m.DT {
				m.DT[i] = time(i)
			}
			m.compare(t, 5e-5)
		})
	}
}

// TestMambaDefinition compares the gradients of the recurrence with its slopes.
func TestMambaDefinition(t *testing.T) {
	m := newMamba(MambaHeads{Heads: 4, HeadDim: 3, Groups: 2, State: 5}, boundsOf(4, 1, 6))
	dy := randoms(len(m.X), 6, 1)
	r := m.define(dy, nil)
	f := func() float64 { return weighed(m.define(nil, nil).y, dy) }
	slopes(t, "x", m.X, r.x, f)
	slopes(t, "b", m.B, r.b, f)
	slopes(t, "c", m.C, r.c, f)
	slopes(t, "dt", m.DT, r.dt, f)
}

// cut is tokens from to to-1 as a batch of its own.
func (m *Mamba) cut(from, to int) *Mamba {
	rows := func(x []float32, width int) []float32 { return x[from*width : to*width] }
	return &Mamba{Heads: m.Heads, Bounds: boundsOf(to - from), X: rows(m.X, m.width()), B: rows(m.B, m.groupWidth()),
		C: rows(m.C, m.groupWidth()), DT: rows(m.DT, m.Heads.Heads), A: m.A, D: m.D}
}

// TestMambaContinues wants a sequence in pieces to be the sequence as a whole, and a state to matter.
func TestMambaContinues(t *testing.T) {
	for _, h := range testMambaHeads {
		for _, size := range []int{1, fewRows, 7, 64, 100} {
			m := newMamba(h, boundsOf(150))
			want, state, y := m.define(nil, nil), make([]float32, h.StateLen()), []float32(nil)
			for from := 0; from < 150; from += size {
				piece := m.cut(from, min(from+size, 150))
				out := make([]float32, len(piece.X))
				piece.Continue(out, state)
				y = append(y, out...)
			}
			near(t, "y", y, want.y, 2e-5)
			out := make([]float32, len(m.X))
			next := m.define(nil, state)
			m.Continue(out, state)
			near(t, "y after a state", out, next.y, 2e-5)
		}
	}
}

// TestMambaPacked wants sequences that are packed to be what they are alone, to the bit, and any number of threads to
// give the same.
func TestMambaPacked(t *testing.T) {
	h := testMambaHeads[2]
	m := newMamba(h, boundsOf(testLengths[6]...))
	dy := randoms(len(m.X), 6, 1)
	var first []float32
	withThreads(t, func(int) {
		y, g := m.run(dy)
		all := slices.Concat(y, g.X, g.B, g.C, g.DT)
		if first == nil {
			first = all
		}
		same(t, "threads", all, first)
		for s := range len(m.Bounds) - 1 {
			from, to := int(m.Bounds[s]), int(m.Bounds[s+1])
			alone, ga := m.cut(from, to).run(dy[from*m.width() : to*m.width()])
			same(t, "y", y[from*m.width():], alone)
			same(t, "dx", g.X[from*m.width():], ga.X)
			same(t, "db", g.B[from*m.groupWidth():], ga.B)
			same(t, "dc", g.C[from*m.groupWidth():], ga.C)
			same(t, "ddt", g.DT[from*h.Heads:], ga.DT)
		}
	})
}

func TestMambaAllocatesNothing(t *testing.T) {
	m := newMamba(testMambaHeads[1], boundsOf(70, 3))
	dy := randoms(len(m.X), 6, 1)
	y, grads := m.run(dy)
	starts, sums := make([]float32, m.StartsLen()), make([]float32, m.SumsLen())
	withThreads(t, func(threads int) {
		if n := alloctest.Steady(20, func() { m.Forward(y, starts); m.Backward(grads, dy, starts, sums) }); n > 0 {
			t.Errorf("%d threads: %g allocations", threads, n)
		}
	})
}

// BenchmarkMamba has the heads of Granite 4 h-tiny: the chunk form forward and backward, and the recurrence. Operations
// are counted as the recurrence makes them: 5 a value of the state and token, and 11 in backward.
func BenchmarkMamba(b *testing.B) {
	h := MambaHeads{Heads: 48, HeadDim: 64, Groups: 1, State: 128}
	for _, rows := range []int{512, 2048} {
		m := newMamba(h, boundsOf(rows))
		y, starts, sums := make([]float32, len(m.X)), make([]float32, m.StartsLen()), make([]float32, m.SumsLen())
		values := float64(len(m.X)) * float64(h.State)
		bench(b, "forward", rows, 5*values, func() { m.Forward(y, nil) })
		dy := randoms(len(m.X), 6, 1)
		m.Forward(y, starts)
		_, grads := m.run(dy)
		bench(b, "backward", rows, 11*values, func() { m.Backward(grads, dy, starts, sums) })
		bench(b, "recurrence", rows, 5*values, func() {
			m.y, m.state = y, make([]float32, h.StateLen())
			divide(h.Heads, m.work(), (*mambaSteps)(m))
			m.y, m.state = nil, nil
		})
	}
	m := newMamba(h, boundsOf(1))
	y, state := make([]float32, len(m.X)), make([]float32, h.StateLen())
	bench(b, "token", 1, 5*float64(len(m.X)*h.State), func() { m.Continue(y, state) })
}
