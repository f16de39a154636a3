package kernels

import (
	"math"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/alloctest"
)

// adamw64 is one step of PyTorch's AdamW in float64.
func adamw64(o AdamW, p, g, m, v []float64) {
	lr, b1, b2, eps, wd := float64(o.LR), float64(o.Beta1), float64(o.Beta2), float64(o.Eps), float64(o.WeightDecay)
	for i := range p {
		p[i] *= 1 - lr*wd
		m[i] += (g[i] - m[i]) * (1 - b1)
		v[i] = v[i]*b2 + (1-b2)*g[i]*g[i]
		root := math.Sqrt(v[i])/math.Sqrt(1-math.Pow(b2, float64(o.Step))) + eps
		p[i] -= lr / (1 - math.Pow(b1, float64(o.Step))) * m[i] / root
	}
}

func TestAdamW(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		const n = 77
		p, m, v := randoms(n, 1), make([]float32, n), make([]float32, n)
		p64, m64, v64 := to64(p), to64(m), to64(v)
		o := AdamW{LR: 0.01, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1}
		for o.Step = 1; o.Step <= 20; o.Step++ {
			g := randoms(n, uint64(o.Step+10))
			o.Update(p, g, m, v)
			adamw64(o, p64, to64(g), m64, v64)
		}
		for i := range p {
			if !near(float64(p[i]), p64[i], 1e-5) {
				t.Fatalf("p[%d] = %v after 20 steps, want %v", i, p[i], p64[i])
			}
		}
	})
}

func TestAdamWThreads(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		const n = 200_003
		var first []float32
		for _, threads := range []int{1, 2, 3, 5} {
			setThreads(t, threads)
			p, m, v := randoms(n, 1), make([]float32, n), make([]float32, n)
			testStep.Update(p, randoms(n, 2), m, v)
			if first == nil {
				first = p
			} else if !slices.Equal(first, p) {
				t.Fatalf("%d threads give other parameters than 1", threads)
			}
		}
	})
}

func TestAdamWAllocates(t *testing.T) {
	const n = 100_003
	p, g, m, v := randoms(n, 1), randoms(n, 2), make([]float32, n), make([]float32, n)
	if allocs := alloctest.Steady(20, func() { testStep.Update(p, g, m, v) }); allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}
