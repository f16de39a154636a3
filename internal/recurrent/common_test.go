package recurrent

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/peftconv/peftconv/kernels"
)

func randoms(n int, seed uint64, scale float64) []float32 {
	rng := rand.New(rand.NewPCG(seed, 1))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64() * scale)
	}
	return x
}

// uniform is n numbers between low and high.
func uniform(n int, seed uint64, low, high float64) []float32 {
	rng := rand.New(rand.NewPCG(seed, 2))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(low + (high-low)*rng.Float64())
	}
	return x
}

// normed gives each group of n numbers the norm 1.
func normed(x []float32, n int) []float32 {
	for at := 0; at < len(x); at += n {
		kernels.Scale(float32(1/math.Sqrt(kernels.SumSquares(x[at:at+n]))), x[at:at+n])
	}
	return x
}

// boundsOf is the bounds of sequences of these lengths.
func boundsOf(lengths ...int) []int32 {
	bounds := []int32{0}
	for _, n := range lengths {
		bounds = append(bounds, bounds[len(bounds)-1]+int32(n))
	}
	return bounds
}

// near wants got to differ from want by at most tolerance times the root mean square of want.
func near(t *testing.T, what string, got []float32, want []float64, tolerance float64) {
	t.Helper()
	sum := 0.0
	for _, v := range want {
		sum += v * v
	}
	rms, worst, at := math.Sqrt(sum/float64(len(want))), -1.0, 0
	for i, v := range want {
		difference := math.Abs(float64(got[i]) - v)
		if difference > worst || math.IsNaN(difference) {
			worst, at = difference, i
		}
		if math.IsNaN(difference) {
			break
		}
	}
	if !(worst <= tolerance*rms) {
		t.Errorf("%s: value %d is %g, want %g (rms %g)", what, at, got[at], want[at], rms)
	}
}

// same wants the same bits.
func same(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i, v := range want {
		if math.Float32bits(got[i]) != math.Float32bits(v) {
			t.Fatalf("%s: value %d is %g, want %g", what, i, got[i], v)
		}
	}
}

// slopes compares gradients of the sum of y·dy with central differences at some of the arguments.
func slopes(t *testing.T, what string, x []float32, gradient []float64, f func() float64) {
	t.Helper()
	for i := 0; i < len(x); i += max(len(x)/23, 1) {
		was := x[i]
		x[i] = was + 1e-3
		up, high := float64(x[i]), f()
		x[i] = was - 1e-3
		down, low := float64(x[i]), f()
		x[i] = was
		if slope := (high - low) / (up - down); math.Abs(slope-gradient[i]) > 1e-4*(1+math.Abs(slope)) {
			t.Errorf("%s: slope %d is %g, gradient says %g", what, i, slope, gradient[i])
		}
	}
}

func weighed(y []float64, dy []float32) (sum float64) {
	for i, v := range y {
		sum += v * float64(dy[i])
	}
	return sum
}

var testLengths = [][]int{{1}, {2}, {63}, {64}, {65}, {200}, {1, 64, 3, 130, 65, 7}}

func name(lengths []int) string { return fmt.Sprint("lengths ", lengths) }

// withThreads runs f with different numbers of threads.
func withThreads(t *testing.T, f func(threads int)) {
	defer kernels.SetThreads(0)
	for _, n := range []int{1, 3} {
		kernels.SetThreads(n)
		f(n)
	}
}
