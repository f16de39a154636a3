package kernels

import (
	"math"
	"testing"
)

// guards are words on both sides of a slice that a kernel must leave alone.
const (
	guardWords = 40
	guardValue = -12345.5
)

// guarded copies x to memory with guards on both sides. check fails the test if they were written.
func guarded(t *testing.T, x []float32) (y []float32, check func()) {
	all := make([]float32, len(x)+2*guardWords)
	for i := range all {
		all[i] = guardValue
	}
	y = all[guardWords : guardWords+len(x) : guardWords+len(x)]
	copy(y, x)
	return y, func() {
		t.Helper()
		for i, v := range all {
			if (i < guardWords || i >= guardWords+len(x)) && v != guardValue {
				t.Fatalf("element %d of a slice of %d was written", i-guardWords, len(x))
			}
		}
	}
}

// near says whether two numbers agree to a relative or absolute error of tol, or are the same non-number.
func near(a, b, tol float64) bool {
	if math.IsNaN(a) || math.IsNaN(b) || math.IsInf(a, 0) || math.IsInf(b, 0) {
		return a == b || math.IsNaN(a) && math.IsNaN(b)
	}
	return math.Abs(a-b) <= tol*max(1, math.Abs(b))
}
