package kernels

import "testing"

// TestRopeTurnsBack: the rotation by the opposite angle undoes the rotation, in both layouts.
func TestRopeTurnsBack(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, n := range []int{1, 5, 16, 24, 64} {
			cos, sin, back := make([]float32, n), make([]float32, n), make([]float32, n)
			for i := range n {
				cos[i], sin[i], back[i] = 0.6, 0.8, -0.8
			}
			for name, rotate := range map[string]func(x, cos, sin []float32){"interleaved": Rope, "neox": RopeNeox} {
				x := randoms(2*n, 1)
				y := append([]float32(nil), x...)
				rotate(y, cos, sin)
				if near(float64(y[0]), float64(x[0]), 1e-3) {
					t.Fatalf("%s, n = %d: nothing was rotated", name, n)
				}
				rotate(y, cos, back)
				checkClose(t, name, y, x, 1e-6)
			}
		}
	})
}

func TestRopeLayouts(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		x, y := []float32{1, 2, 3, 4}, []float32{1, 3, 2, 4}
		cos, sin := []float32{0, 1}, []float32{1, 0}
		Rope(x, cos, sin)
		RopeNeox(y, cos, sin)
		checkClose(t, "Rope", x, []float32{-2, 1, 3, 4}, 0)
		checkClose(t, "RopeNeox", y, []float32{-2, 3, 1, 4}, 0)
	})
}
