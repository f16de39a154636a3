package autograd

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// BenchmarkExperts is blocks of experts with a low-rank map of rank 8 on each matrix. It reports the floating point
// operations of the frozen products per second, forward and backward, the time of all else included. dense is one
// expert with as many operations: what there is to reach.
//
//	go test ./internal/autograd -run '^$' -bench Experts -benchtime 1s
func BenchmarkExperts(b *testing.B) {
	const width, rank = 2048, 8
	for _, kind := range []gguf.Type{gguf.Q4_K, gguf.MXFP4} {
		for _, c := range []struct {
			name                       string
			experts, used, ffn, tokens int
		}{
			{"dense", 1, 1, 768, 2048}, {"32 experts", 32, 4, 768, 512}, {"128 experts", 128, 8, 768, 256},
			{"dense", 1, 1, 3072, 1}, {"32 experts", 32, 4, 768, 1},
		} {
			r := Router{Gating: GateSoftmax, Used: c.used, Norm: true}
			block := quantizedBlock(b, r, kind, c.experts, width, c.ffn, rank)
			for _, p := range []kernels.Precision{kernels.F32, kernels.Int8} {
				for threads := 1; threads <= runtime.GOMAXPROCS(0); threads *= 2 {
					b.Run(fmt.Sprintf("%v/%v/%s/T=%d/threads=%d", kind, p, c.name, c.tokens, threads), func(b *testing.B) {
						defer kernels.SetThreads(0)
						kernels.SetThreads(threads)
						benchmarkExperts(b, block, p, c.tokens, width, 6*float64(c.tokens*c.used*width*c.ffn))
					})
				}
			}
		}
	}
}

func benchmarkExperts(b *testing.B, block *expertBlock, p kernels.Precision, tokens, width int, flops float64) {
	x := randomParams([][2]int{{tokens, width}}, 5)[0]
	tape := NewTape()
	tape.Precision(p)
	forward, backward := time.Hour, time.Hour
	run := func() {
		tape.Reset(1)
		start := time.Now()
		y := block.run(tape, x)
		middle := time.Now()
		copy(tape.grad(y), y.Data)
		tape.Backward()
		forward, backward = min(forward, middle.Sub(start)), min(backward, time.Since(middle))
	}
	run()
	b.ReportAllocs()
	for b.Loop() {
		run()
	}
	b.ReportMetric(flops/forward.Seconds()/1e9, "forward-GFLOP/s")
	b.ReportMetric(flops/backward.Seconds()/1e9, "backward-GFLOP/s")
}

// quantizedBlock is newExpertBlock with the matrices of the experts stacked, in blocks of a type.
func quantizedBlock(tb testing.TB, r Router, kind gguf.Type, experts, width, ffn, rank int) *expertBlock {
	b := &expertBlock{router: r, logits: scaled(dense(experts, width, 1), 1)}
	stacked := func(rows, cols int) (of []kernels.Weights) {
		one := scaled(dense(rows, cols, 1), 1).Data
		size := quant.Matrix{Type: kind, Cols: cols}.RowSize() * rows
		data := make([]byte, size*experts)
		quant.Quantize(kind, data[:size], one, cols, nil)
		for e := 1; e < experts; e++ {
			copy(data[e*size:], data[:size])
		}
		m, err := quant.NewMatrix(kind, experts*rows, cols, data)
		if err != nil {
			tb.Fatal(err)
		}
		for e := range experts {
			of = append(of, m.Slice(e*rows, (e+1)*rows))
		}
		return of
	}
	b.gate, b.up, b.down = stacked(ffn, width), stacked(ffn, width), stacked(width, ffn)
	for range experts {
		p := randomParams([][2]int{{rank, width}, {ffn, rank}, {rank, width}, {ffn, rank}, {rank, ffn}, {width, rank}}, 9)
		b.low = append(b.low, [3]LowRank{{p[0], p[1], 0.1}, {p[2], p[3], 0.1}, {p[4], p[5], 0.1}})
	}
	return b
}

// BenchmarkRouting is what a block of experts does beside its products: Route as million logits a second, Gather of all
// experts and Combine as GB/s of the rows that are read and written, each forward and then backward.
func BenchmarkRouting(b *testing.B) {
	const tokens, experts, used, width = 512, 128, 8, 2048
	logits := randomParams([][2]int{{tokens, experts}}, 5)[0]
	x := randomParams([][2]int{{tokens, width}}, 6)[0]
	for name, r := range map[string]Router{
		"softmax":               {Gating: GateSoftmax, Norm: true},
		"softmax, balance":      {Gating: GateSoftmax, Norm: true, AuxLoss: 0.01},
		"softmax without norm":  {Gating: GateSoftmax},
		"sigmoid, groups":       {Gating: GateSigmoid, Norm: true, Groups: 8, GroupsUsed: 4, Bias: make([]float32, experts)},
		"softmax of the chosen": {Gating: GateSoftmaxOfChosen},
		"sqrt softplus":         {Gating: GateSqrtSoftplus, Norm: true},
	} {
		r.Used = used
		b.Run("route/"+name, func(b *testing.B) {
			benchmarkBoth(b, tokens*experts, "Mlogits/s", func(t *Tape) func() {
				rt := t.Route(logits, r)
				fill := t.grad(rt.Weights)
				return func() { copy(fill, rt.Weights.Data) }
			})
		})
	}
	b.Run("gather and combine", func(b *testing.B) {
		outputs := make([]*Tensor, experts)
		benchmarkBoth(b, 4*2*tokens*used*width/1000, "GB/s", func(t *Tape) func() {
			rt := t.Route(logits, Router{Gating: GateSoftmax, Used: used})
			for e := range outputs {
				outputs[e] = t.Gather(x, rt, e)
			}
			y := t.Combine(rt, outputs)
			return func() { copy(t.grad(y), y.Data) }
		})
	})
}

// benchmarkBoth reports million units of work a second of an operation, and of its backward, which begins with what
// forward returns.
func benchmarkBoth(b *testing.B, work float64, unit string, forward func(t *Tape) (seed func())) {
	tape := NewTape()
	there, back := time.Hour, time.Hour
	for b.Loop() {
		tape.Reset(1)
		start := time.Now()
		seed := forward(tape)
		there = min(there, time.Since(start))
		seed()
		start = time.Now()
		tape.Backward()
		back = min(back, time.Since(start))
	}
	b.ReportMetric(work/there.Seconds()/1e6, "forward-"+unit)
	b.ReportMetric(work/back.Seconds()/1e6, "backward-"+unit)
}
