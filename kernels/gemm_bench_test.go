package kernels

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// Rate reports the best of all runs as GFLOP/s and as a share of the peak of as many threads in a precision, measured
// just before: on a shared machine the mean says more about the neighbours.
func Rate(b *testing.B, p Precision, threads int, flops float64, f func()) {
	setThreads(b, threads)
	peak := Peak(p)
	f()
	best := time.Hour
	for b.Loop() {
		start := time.Now()
		f()
		best = min(best, time.Since(start))
	}
	b.ReportMetric(flops/best.Seconds()/1e9, "GFLOP/s")
	b.ReportMetric(100*flops/best.Seconds()/1e9/peak, "%peak")
}

func benchmarkTiersAndThreads(b *testing.B, f func(b *testing.B, threads int)) {
	was := current
	defer func() { current = was }()
	for tr := tierGeneric; tr <= bestTier(); tr++ {
		for threads := 1; tierExists(tr) && threads <= runtime.GOMAXPROCS(0); threads *= 2 {
			b.Run(fmt.Sprintf("%s/threads=%d", tr, threads), func(b *testing.B) {
				current = tr
				f(b, threads)
			})
		}
	}
}

// BenchmarkGemm has the shapes of large models, of small ones, and of adapters of small rank with their
// gradients.
func BenchmarkGemm(b *testing.B) {
	for _, s := range []struct {
		name           string
		m, n, k        int
		transA, transB bool
	}{
		{"linear", 512, 5632, 2048, false, true},
		{"linear-dx", 512, 2048, 5632, false, false},
		{"small", 512, 768, 256, false, true},
		{"small-dx", 512, 256, 768, false, false},
		{"tiny", 256, 172, 64, false, true},
		{"dense-dw", 768, 256, 512, true, false},
		{"scores", 512, 512, 64, false, true},
		{"rank8-down", 512, 8, 2048, false, true},
		{"rank8-up", 512, 2048, 8, false, true},
		{"rank8-du", 512, 8, 2048, false, false},
		{"rank8-da", 8, 2048, 512, true, false},
		{"rank8-db", 2048, 8, 512, true, false},
		{"rank8-small-down", 128, 8, 256, false, true},
		{"rank16-down", 512, 16, 2048, false, true},
		{"rank16-up", 512, 2048, 16, false, true},
		{"rank64-down", 512, 64, 2048, false, true},
		{"rank64-up", 512, 2048, 64, false, true},
		{"token", 1, 2048, 2048, false, true},
	} {
		b.Run(fmt.Sprintf("%s/%dx%dx%d", s.name, s.m, s.n, s.k), func(b *testing.B) {
			g := newGemmCase(s.m, s.n, s.k, s.transA, s.transB, 0)
			benchmarkTiersAndThreads(b, func(b *testing.B, threads int) {
				Rate(b, F32, threads, 2*float64(s.m)*float64(s.n)*float64(s.k), func() {
					Gemm(g.transA, g.transB, g.m, g.n, g.k, 1, g.a, g.lda, g.b, g.ldb, 1, g.c, g.ldc)
				})
			})
		})
	}
}

// BenchmarkGemmWeights goes through Weights, which costs a copy of each tile more.
func BenchmarkGemmWeights(b *testing.B) {
	const rows, cols = 5632, 2048
	var w Weights = strictWeights{Dense{rows, cols, randoms(rows*cols, 1)}}
	for _, t := range []int{1, 8, 64, 512} {
		x, y := randoms(t*cols, 2), randoms(t*rows, 3)
		flops := 2 * float64(t) * rows * cols
		b.Run(fmt.Sprintf("forward/t=%d", t), func(b *testing.B) {
			benchmarkTiersAndThreads(b, func(b *testing.B, threads int) {
				Rate(b, F32, threads, flops, func() { GemmWT(y, x, t, w, 0) })
			})
		})
		b.Run(fmt.Sprintf("backward/t=%d", t), func(b *testing.B) {
			benchmarkTiersAndThreads(b, func(b *testing.B, threads int) {
				Rate(b, F32, threads, flops, func() { GemmW(x, y, t, w, 0) })
			})
		})
	}
}
