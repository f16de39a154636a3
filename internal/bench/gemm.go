package bench

import (
	"math/rand/v2"
	"time"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// Gemm is the speed of one product with a quantized matrix, dequantizing included: C (m, n) = A (m, k) · B (k, n).
type Gemm struct {
	Type      string  `json:"type"` // of the matrix
	Precision string  `json:"precision"`
	Direction string  `json:"direction"` // "forward": y = x·Wᵀ; "backward": dx = dy·W
	M         int     `json:"m"`
	N         int     `json:"n"`
	K         int     `json:"k"`
	GFLOPS    float64 `json:"gflops"`
	Percent   float64 `json:"percent_of_peak"`
}

// Directions of a product.
const (
	forward  = "forward"
	backward = "backward"
)

// matrixShape is a matrix of weights.
type matrixShape struct{ rows, cols int }

// gemmShapes are the largest matrices of models of 110 million and 1.1 billion weights.
var gemmShapes = []matrixShape{{2048, 768}, {5632, 2048}}

// gemmTime is for how long a product is repeated; the fastest counts.
const gemmTime = 100 * time.Millisecond

// measureGemm measures both products of a matrix of random weights in all precisions.
func measureGemm(kind gguf.Type, shape matrixShape, tokens int, precisions []kernels.Precision) ([]Gemm, error) {
	w, err := model.RandomMatrix(kind, shape.rows, shape.cols)
	if err != nil {
		return nil, err
	}
	x, y := normals(tokens*shape.cols), normals(tokens*shape.rows)
	var found []Gemm
	for _, p := range precisions {
		for _, direction := range []string{forward, backward} {
			g := Gemm{Type: kind.String(), Precision: p.String(), Direction: direction, M: tokens, N: shape.rows, K: shape.cols}
			if direction == backward {
				g.N, g.K = g.K, g.N
			}
			flops := 2 * float64(g.M) * float64(g.N) * float64(g.K)
			g.GFLOPS = flops / fastest(func() { product(direction, p, x, y, tokens, &w) }).Seconds() / 1e9
			found = append(found, g)
		}
	}
	return found, nil
}

func product(direction string, p kernels.Precision, x, y []float32, tokens int, w *quant.Matrix) {
	if direction == forward {
		kernels.GemmWTPrec(p, y, x, tokens, w, 0)
		return
	}
	kernels.GemmWPrec(p, x, y, tokens, w, 0)
}

// fastest is the shortest time of f.
func fastest(f func()) time.Duration {
	f()
	best := time.Hour
	for begin := time.Now(); time.Since(begin) < gemmTime; {
		start := time.Now()
		f()
		best = min(best, time.Since(start))
	}
	return best
}

func normals(n int) []float32 {
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}
