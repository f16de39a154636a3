package prng

import (
	"math"
	"testing"
)

// TestRandom pins the first values and looks at the moments: the files of a seed must never change.
func TestRandom(t *testing.T) {
	r := &Random{}
	for i, want := range []uint64{0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4, 0x06c45d188009454f} {
		if got := r.Next(); got != want { // of the reference implementation, seed 0
			t.Errorf("value %d is %#x, expected %#x", i, got, want)
		}
	}
	if a, b := NewRandom(1, "x").Next(), NewRandom(1, "y").Next(); a == b {
		t.Error("two names share a stream")
	}
	if a, b := NewRandom(1, "x").Next(), NewRandom(2, "x").Next(); a == b {
		t.Error("two seeds share a stream")
	}
	x := make([]float32, 100_000)
	NewRandom(7, "uniform").Uniform(x, 0.5)
	checkMoments(t, "uniform", x, 0.5/math.Sqrt(3), 0.5)
	NewRandom(7, "normal").Normal(x, 0.25)
	checkMoments(t, "normal", x, 0.25, 0.25*6)
}

func checkMoments(t *testing.T, name string, x []float32, deviation, limit float64) {
	t.Helper()
	var sum, squares float64
	for _, v := range x {
		sum += float64(v)
		squares += float64(v) * float64(v)
		if math.Abs(float64(v)) > limit {
			t.Errorf("%s: value %v beyond %v", name, v, limit)
		}
	}
	n := float64(len(x))
	if mean := sum / n; math.Abs(mean) > 4*deviation/math.Sqrt(n) {
		t.Errorf("%s: mean %v", name, mean)
	}
	if got := math.Sqrt(squares / n); math.Abs(got-deviation) > 0.01*deviation {
		t.Errorf("%s: standard deviation %v, expected %v", name, got, deviation)
	}
}
