package autograd

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/peftconv/peftconv/kernels"
)

var normGraphs = []graph{
	{"RMSNorm of heads", [][2]int{{5, 24}, {1, 8}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.RMSNorm(p[0], p[1], 1e-5)
	}},
	{"RMSNorm of wide heads", [][2]int{{5, 210}, {1, 70}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.RMSNorm(p[0], p[1], 1e-5)
	}},
	{"GroupRMSNorm", [][2]int{{5, 210}, {1, 210}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.GroupRMSNorm(p[0], p[1], 70, 1e-5)
	}},
	{"GroupRMSNorm of narrow groups", [][2]int{{5, 90}, {1, 90}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.GroupRMSNorm(p[0], p[1], 18, 1e-5)
	}},
	{"GroupRMSNorm without weights", [][2]int{{5, 40}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.GroupRMSNorm(p[0], nil, 20, 1e-5)
	}},
	{"LayerNorm", [][2]int{{5, 70}, {1, 70}, {1, 70}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.LayerNorm(p[0], p[1], p[2], 70, 1e-5)
	}},
	{"LayerNorm of heads", [][2]int{{5, 40}, {1, 20}, {1, 40}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.LayerNorm(p[0], p[1], p[2], 20, 1e-5)
	}},
	{"LayerNorm with weights for each head", [][2]int{{5, 40}, {1, 40}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.LayerNorm(p[0], p[1], nil, 20, 1e-5)
	}},
	{"LayerNorm without weights", [][2]int{{5, 40}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.LayerNorm(t.LayerNorm(p[0], nil, nil, 40, 1e-5), nil, nil, 10, 1)
	}},
	{"LayerNorm without weights, with biases", [][2]int{{5, 40}, {1, 40}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.LayerNorm(p[0], nil, p[1], 40, 1e-5)
	}},
	{"norm with weights that are results", [][2]int{{5, 40}, {1, 40}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.LayerNorm(p[0], t.Scaled(p[1], 2), t.Scaled(p[1], 3), 40, 1e-5)
	}},
}

func TestNormGradients(t *testing.T) { checkGradients(t, normGraphs) }

// TestHeadNormIsNormOfRows wants the norm of heads to be that of rows of one head each, bit by bit.
func TestHeadNormIsNormOfRows(t *testing.T) {
	p := randomParams([][2]int{{6, 3 * 20}, {1, 20}, {1, 20}}, 5)
	rows := NewConst(18, 20, p[0].Data)
	tape := NewTape()
	for name, norm := range map[string]func(x *Tensor) *Tensor{
		"RMSNorm":      func(x *Tensor) *Tensor { return tape.RMSNorm(x, p[1], 1e-5) },
		"GroupRMSNorm": func(x *Tensor) *Tensor { return tape.GroupRMSNorm(x, nil, 20, 1e-5) },
		"LayerNorm":    func(x *Tensor) *Tensor { return tape.LayerNorm(x, p[1], p[2], 20, 1e-5) },
	} {
		if !slices.Equal(norm(p[0]).Data, norm(rows).Data) {
			t.Errorf("%s of heads differs from that of rows", name)
		}
	}
}

func TestNormPanics(t *testing.T) {
	tape := NewTape()
	x, w := NewConst(2, 6, make([]float32, 12)), NewConst(1, 4, make([]float32, 4))
	for name, f := range map[string]func(){
		"RMSNorm":      func() { tape.RMSNorm(x, w, 0) },
		"GroupRMSNorm": func() { tape.GroupRMSNorm(x, w, 3, 0) },
		"LayerNorm":    func() { tape.LayerNorm(x, nil, w, 6, 0) },
	} {
		wantPanic(t, name, f)
	}
}

func wantPanic(t *testing.T, name string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s: no panic", name)
		}
	}()
	f()
}

// benchmarkGraph measures the best of forward, and of forward with backward, of an operation over parameters: floats is
// what it reads and writes in a forward pass, at least.
func benchmarkGraph(b *testing.B, g graph, floats int) {
	for _, backward := range []bool{false, true} {
		name := "forward"
		if backward {
			name = "with backward"
		}
		b.Run(fmt.Sprintf("%s/%s", g.name, name), func(b *testing.B) {
			kernels.SetThreads(1)
			defer kernels.SetThreads(0)
			params, tape := randomParams(g.params, 5), NewTape()
			tape.Record(backward)
			best := time.Hour
			for b.Loop() {
				start := time.Now()
				tape.Reset(1)
				y := g.build(tape, params)
				if backward {
					tape.startGrad(y)
					tape.Backward()
				}
				best = min(best, time.Since(start))
			}
			b.ReportMetric(4*float64(floats)/best.Seconds()/1e9, "GB/s")
		})
	}
}

func BenchmarkNorm(b *testing.B) {
	const rows, width, head = 256, 4096, 128
	for _, g := range []graph{
		{"RMSNorm", [][2]int{{rows, width}, {1, width}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.RMSNorm(p[0], NewConst(1, width, p[1].Data), 1e-5)
		}},
		{"RMSNorm of heads", [][2]int{{rows, width}, {1, head}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.RMSNorm(p[0], NewConst(1, head, p[1].Data), 1e-5)
		}},
		{"LayerNorm", [][2]int{{rows, width}, {1, width}}, func(t *Tape, p []*Tensor) *Tensor {
			w := NewConst(1, width, p[1].Data)
			return t.LayerNorm(p[0], w, w, width, 1e-5)
		}},
		{"LayerNorm with gradients of weights", [][2]int{{rows, width}, {1, width}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.LayerNorm(p[0], p[1], p[1], width, 1e-5)
		}},
	} {
		benchmarkGraph(b, g, 2*rows*width)
	}
}
