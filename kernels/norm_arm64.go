//go:build !purego

package kernels

//go:noescape
func scaleMulNEON(n int, y *float32, a float32, x, w *float32)

func scaleMul(y []float32, a float32, x, w []float32) {
	if current >= tierNEON {
		scaleMulNEON(len(x), ptr(y), a, ptr(x), ptr(w))
	} else {
		scaleMulGeneric(y, a, x, w)
	}
}

//go:noescape
func dot3NEON(n int, x, y, z *float32) float32

func dot3(x, y, z []float32) float32 {
	if current >= tierNEON {
		return dot3NEON(len(x), ptr(x), ptr(y), ptr(z))
	}
	return dot3Generic(x, y, z)
}

//go:noescape
func addMulAxpyNEON(n int, dst *float32, a float32, x, y *float32, b float32, z *float32)

func addMulAxpy(dst []float32, a float32, x, y []float32, b float32, z []float32) {
	if current >= tierNEON {
		addMulAxpyNEON(len(z), ptr(dst), a, ptr(x), ptr(y), b, ptr(z))
	} else {
		addMulAxpyGeneric(dst, a, x, y, b, z)
	}
}

//go:noescape
func sumNEON(n int, x *float32) float64

func sum(x []float32) float64 {
	if current >= tierNEON {
		return sumNEON(len(x), ptr(x))
	}
	return sumGeneric(x)
}

//go:noescape
func shiftNEON(n int, a float32, x *float32)

func shift(a float32, x []float32) {
	if current >= tierNEON {
		shiftNEON(len(x), a, ptr(x))
	} else {
		shiftGeneric(a, x)
	}
}
