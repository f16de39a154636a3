package autograd

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/peftconv/peftconv/internal/alloctest"
	"github.com/peftconv/peftconv/internal/recurrent"
	"github.com/peftconv/peftconv/kernels"
)

var (
	testDelta  = recurrent.DeltaHeads{KeyHeads: 2, ValueHeads: 4, KeyDim: 3, ValueDim: 5}
	testMamba  = recurrent.MambaHeads{Heads: 4, HeadDim: 3, Groups: 2, State: 5}
	testA      = []float32{-1, -0.5, -2, -0.1}
	testBias   = []float32{0.5, -1, 2, 0}
	testPieces = []int32{0, 3, 70, 71}
)

// delta is a gated delta net of raw parameters as a layer makes them.
func delta(t *Tape, p []*Tensor, bounds []int32, state []float32) *Tensor {
	q, k := t.L2Norm(p[0], testDelta.KeyDim, 1e-6), t.L2Norm(p[1], testDelta.KeyDim, 1e-6)
	beta := t.Activate(p[4], Activation{"sigmoid", func(x float64) (y, dy float64) {
		s := 1 / (1 + math.Exp(-x))
		return s, s * (1 - s)
	}})
	return t.GatedDeltaNet(q, k, p[2], t.DeltaDecay(p[3], testBias, testA), beta, testDelta, bounds, state)
}

func mamba(t *Tape, p []*Tensor, bounds []int32, state []float32) *Tensor {
	dt := t.Softplus(p[3], testBias)
	return t.Mamba2(p[0], p[1], p[2], dt, testA, testBias, testMamba, bounds, state)
}

func conv(t *Tape, p []*Tensor, bounds []int32, state []float32) *Tensor {
	w := dense(8, 4, 3).Data
	return t.CausalConv(p[0], w, w[:8], 4, true, bounds, state)
}

// recurrentLayers are the operations with a state.
var recurrentLayers = []struct {
	name     string
	build    func(t *Tape, p []*Tensor, bounds []int32, state []float32) *Tensor
	widths   []int
	stateLen int
}{
	{"CausalConv", conv, []int{8}, 3 * 8},
	{"GatedDeltaNet", delta, []int{6, 6, 20, 4, 4}, testDelta.StateLen()},
	{"Mamba2", mamba, []int{12, 10, 10, 4}, testMamba.StateLen()},
}

func shapes(rows int, widths []int) (s [][2]int) {
	for _, w := range widths {
		s = append(s, [2]int{rows, w})
	}
	return s
}

// TestRecurrentGradients compares backward with central differences, within a chunk and over several.
func TestRecurrentGradients(t *testing.T) {
	graphs := []graph{
		{"CausalConv without SiLU", [][2]int{{9, 6}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.CausalConv(p[0], dense(6, 3, 3).Data, nil, 3, false, testBounds, nil)
		}},
		{"L2Norm", [][2]int{{5, 24}}, func(t *Tape, p []*Tensor) *Tensor { return t.L2Norm(p[0], 8, 1e-1) }},
		{"L2Norm twice", [][2]int{{5, 24}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.Add(t.L2Norm(p[0], 8, 1e-1), t.L2Norm(p[0], 3, 1e-1))
		}},
		{"Softplus", [][2]int{{5, 6}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.Softplus(p[0], []float32{0, 1, 18, 25, -5, 2})
		}},
		{"DeltaDecay", [][2]int{{5, 4}}, func(t *Tape, p []*Tensor) *Tensor { return t.DeltaDecay(p[0], testBias, testA) }},
		{"GatedDeltaNet with frozen keys", [][2]int{{9, 20}, {9, 4}}, func(t *Tape, p []*Tensor) *Tensor {
			k := t.L2Norm(NewConst(9, 6, dense(9, 6, 1).Data), 3, 0)
			h := testDelta
			h.Grouped = true
			return t.GatedDeltaNet(k, k, p[0], t.DeltaDecay(p[1], nil, testA), NewConst(9, 4, dense(9, 4, 2).Data), h,
				testBounds, nil)
		}},
	}
	for _, l := range recurrentLayers {
		for _, bounds := range [][]int32{testBounds, testPieces} {
			rows := int(bounds[len(bounds)-1])
			build := func(t *Tape, p []*Tensor) *Tensor { return l.build(t, p, bounds, nil) }
			graphs = append(graphs, graph{fmt.Sprint(l.name, " of ", rows), shapes(rows, l.widths), build})
		}
	}
	checkGradients(t, graphs)
}

// TestSoftplus wants its values, near 20 above all.
func TestSoftplus(t *testing.T) {
	tape := NewTape()
	for x, want := range map[float32]float64{
		0: math.Ln2, -30: 9.357622968839e-14, 19.9: 19.9000000022777, 20.5: 20.5, 100: 100,
	} {
		y := tape.Softplus(NewConst(1, 1, []float32{x - 1}), []float32{1})
		if math.Abs(float64(y.Data[0])-want) > 1e-6*want {
			t.Errorf("softplus(%g) is %g, want %g", x, y.Data[0], want)
		}
	}
}

// TestRecurrentState wants a sequence token by token and in pieces to be the sequence as a whole.
func TestRecurrentState(t *testing.T) {
	for _, l := range recurrentLayers {
		for _, size := range []int{1, 3, 70} {
			const rows = 100
			tape, p := NewTape(), randomParams(shapes(rows, l.widths), 5)
			want := l.build(tape, p, []int32{0, rows}, nil)
			state := make([]float32, l.stateLen)
			for from := 0; from < rows; from += size {
				n := min(size, rows-from)
				piece := make([]*Tensor, len(p))
				for i, x := range p {
					piece[i] = NewConst(n, x.Cols, x.Data[from*x.Cols:(from+n)*x.Cols])
				}
				y := l.build(tape, piece, []int32{0, int32(n)}, state)
				if y.NeedsGrad() {
					t.Fatalf("%s: a session is recorded", l.name)
				}
				for i, v := range y.Data {
					if other := want.Data[from*y.Cols+i]; math.Abs(float64(v-other)) > 1e-5*(1+math.Abs(float64(other))) {
						t.Fatalf("%s: value %d of token %d is %g, in pieces of %d %g", l.name, i%y.Cols, from, other, size, v)
					}
				}
			}
		}
	}
}

// TestRecurrentBorders changes one sequence and wants the others, and their gradients, not to notice.
func TestRecurrentBorders(t *testing.T) {
	for _, l := range recurrentLayers {
		rows := int(testPieces[3])
		results := func(changed int) (out [][]float32) {
			tape, p := NewTape(), randomParams(shapes(rows, l.widths), 5)
			for _, x := range p {
				for i := int(testPieces[changed]) * x.Cols; i < int(testPieces[changed+1])*x.Cols; i++ {
					x.Data[i] += 1
				}
			}
			y := l.build(tape, p, testPieces, nil)
			weigh(tape, y)
			tape.Backward()
			for s := range 3 {
				from, to := int(testPieces[s]), int(testPieces[s+1])
				part := slices.Clone(y.Data[from*y.Cols : to*y.Cols])
				for _, x := range p {
					part = append(part, x.Grad[from*x.Cols:to*x.Cols]...)
				}
				out = append(out, part)
			}
			return out
		}
		first, last := results(0), results(2)
		if !slices.Equal(first[1], last[1]) || slices.Equal(first[0], last[0]) {
			t.Errorf("%s: a change of one sequence reaches another, or not itself", l.name)
		}
	}
}

// TestRecurrentAllocatesNothing wants a step like the one before to find all memory that it needs, and to give the same
// whether its inside is kept or not and with any number of threads.
func TestRecurrentAllocatesNothing(t *testing.T) {
	const rows = 130
	p := randomParams(shapes(rows, []int{64}), 5)
	w, h := dense(64, 4, 1), recurrent.DeltaHeads{KeyHeads: 2, ValueHeads: 4, KeyDim: 16, ValueDim: 16}
	m := recurrent.MambaHeads{Heads: 4, HeadDim: 16, Groups: 1, State: 32}
	narrow, qk := kernels.Weights(dense(4, 64, 2)), kernels.Weights(dense(32, 64, 3))
	beta := NewConst(rows, 4, make([]float32, rows*4))
	for i := range beta.Data {
		beta.Data[i] = 0.5
	}
	bounds, tape := []int32{0, 70, rows}, NewTape()
	layer := func(x *Tensor) *Tensor {
		c := tape.CausalConv(x, w.Data, nil, 4, true, bounds, nil)
		q := tape.L2Norm(tape.Linear(c, qk), 16, 1e-6)
		g := tape.DeltaDecay(tape.Linear(x, narrow), testBias, testA)
		x = tape.Add(x, tape.GatedDeltaNet(q, q, c, g, beta, h, bounds, nil))
		dt := tape.Softplus(tape.Linear(x, narrow), testBias)
		return tape.Add(x, tape.Mamba2(c, q, q, dt, testA, testBias, m, bounds, nil))
	}
	step := func() {
		tape.Reset(1)
		x := p[0]
		for range 2 {
			x = tape.Checkpoint(x, layer)
		}
		copy(tape.grad(x), x.Data)
		tape.Backward()
	}
	defer kernels.SetThreads(0)
	var first []float32
	for _, keep := range []bool{false, true} {
		for _, threads := range []int{1, 3} {
			kernels.SetThreads(threads)
			tape.Keep(keep)
			if n := alloctest.Steady(20, step); n > 0 {
				t.Errorf("keep %v, %d threads: a step allocates %g times", keep, threads, n)
			}
			clear(p[0].Grad)
			step()
			if first == nil {
				first = slices.Clone(p[0].Grad)
			}
			if !slices.Equal(p[0].Grad, first) {
				t.Errorf("keep %v, %d threads: another gradient", keep, threads)
			}
		}
	}
}

// BenchmarkRecurrent has the small operations of a delta net layer of Qwen3.5 9B.
func BenchmarkRecurrent(b *testing.B) {
	const rows = 512
	p := randomParams(shapes(rows, []int{2048, 32}), 5)
	for name, f := range map[string]func(t *Tape) *Tensor{
		"L2Norm":     func(t *Tape) *Tensor { return t.L2Norm(p[0], 128, 1e-6) },
		"DeltaDecay": func(t *Tape) *Tensor { return t.DeltaDecay(p[1], make([]float32, 32), make([]float32, 32)) },
	} {
		for _, backward := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/backward=%v", name, backward), func(b *testing.B) {
				tape, best, flops := NewTape(), time.Hour, 0.0
				for b.Loop() {
					tape.Reset(0)
					start := time.Now()
					y := f(tape)
					flops = 3 * float64(len(y.Data))
					if backward {
						tape.grad(y)
						start = time.Now()
						tape.Backward()
						flops *= 2
					}
					best = min(best, time.Since(start))
				}
				b.ReportMetric(flops/best.Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}
