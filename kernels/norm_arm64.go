//go:build !purego

package kernels

//go:noescape
func scaleMulNEON(n int, y *float32, a float32, x, w *float32)

func scaleMul(y []float32, a float32, x, w []float32) {
	if current == tierNEON {
		scaleMulNEON(len(x), ptr(y), a, ptr(x), ptr(w))
	} else {
		scaleMulGeneric(y, a, x, w)
	}
}

//go:noescape
func dot3NEON(n int, x, y, z *float32) float32

func dot3(x, y, z []float32) float32 {
	if current == tierNEON {
		return dot3NEON(len(x), ptr(x), ptr(y), ptr(z))
	}
	return dot3Generic(x, y, z)
}

//go:noescape
func addMulAxpyNEON(n int, dst *float32, a float32, x, y *float32, b float32, z *float32)

func addMulAxpy(dst []float32, a float32, x, y []float32, b float32, z []float32) {
	if current == tierNEON {
		addMulAxpyNEON(len(z), ptr(dst), a, ptr(x), ptr(y), b, ptr(z))
	} else {
		addMulAxpyGeneric(dst, a, x, y, b, z)
	}
}
