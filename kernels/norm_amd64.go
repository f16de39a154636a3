//go:build !purego

package kernels

//go:noescape
func scaleMulAVX512(n int, y *float32, a float32, x, w *float32)

//go:noescape
func scaleMulAVX2(n int, y *float32, a float32, x, w *float32)

func scaleMul(y []float32, a float32, x, w []float32) {
	switch current {
	case tierAVX512, tierAMX:
		scaleMulAVX512(len(x), ptr(y), a, ptr(x), ptr(w))
	case tierAVX2:
		scaleMulAVX2(len(x), ptr(y), a, ptr(x), ptr(w))
	default:
		scaleMulGeneric(y, a, x, w)
	}
}

//go:noescape
func dot3AVX512(n int, x, y, z *float32) float32

//go:noescape
func dot3AVX2(n int, x, y, z *float32) float32

func dot3(x, y, z []float32) float32 {
	switch current {
	case tierAVX512, tierAMX:
		return dot3AVX512(len(x), ptr(x), ptr(y), ptr(z))
	case tierAVX2:
		return dot3AVX2(len(x), ptr(x), ptr(y), ptr(z))
	}
	return dot3Generic(x, y, z)
}

//go:noescape
func addMulAxpyAVX512(n int, dst *float32, a float32, x, y *float32, b float32, z *float32)

//go:noescape
func addMulAxpyAVX2(n int, dst *float32, a float32, x, y *float32, b float32, z *float32)

func addMulAxpy(dst []float32, a float32, x, y []float32, b float32, z []float32) {
	switch current {
	case tierAVX512, tierAMX:
		addMulAxpyAVX512(len(z), ptr(dst), a, ptr(x), ptr(y), b, ptr(z))
	case tierAVX2:
		addMulAxpyAVX2(len(z), ptr(dst), a, ptr(x), ptr(y), b, ptr(z))
	default:
		addMulAxpyGeneric(dst, a, x, y, b, z)
	}
}

//go:noescape
func sumAVX512(n int, x *float32) float64

//go:noescape
func sumAVX2(n int, x *float32) float64

func sum(x []float32) float64 {
	switch current {
	case tierAVX512, tierAMX:
		return sumAVX512(len(x), ptr(x))
	case tierAVX2:
		return sumAVX2(len(x), ptr(x))
	}
	return sumGeneric(x)
}

//go:noescape
func shiftAVX512(n int, a float32, x *float32)

//go:noescape
func shiftAVX2(n int, a float32, x *float32)

func shift(a float32, x []float32) {
	switch current {
	case tierAVX512, tierAMX:
		shiftAVX512(len(x), a, ptr(x))
	case tierAVX2:
		shiftAVX2(len(x), a, ptr(x))
	default:
		shiftGeneric(a, x)
	}
}
