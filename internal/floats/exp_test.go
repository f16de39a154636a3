package floats

import (
	"math"
	"testing"
)

// TestExp compares Exp with that of float64.
func TestExp(t *testing.T) {
	for x := float32(-80); x < 80; x += 0.37 {
		want := math.Exp(float64(x))
		if err := math.Abs(float64(Exp(x))-want) / want; err > 1.2e-7 {
			t.Errorf("exp(%g) = %g, expected %g", x, Exp(x), want)
		}
	}
}
