//go:build !purego

package kernels

//go:noescape
func scaleMulAVX512(n int, y *float32, a float32, x, w *float32)

//go:noescape
func scaleMulAVX2(n int, y *float32, a float32, x, w *float32)

// scaleMul is scaleMulGeneric on the current tier.
func scaleMul(y []float32, a float32, x, w []float32) {
	n := whole(len(x))
	if n == 0 || current == tierGeneric {
		scaleMulGeneric(y, a, x, w)
		return
	}
	_, _ = y[n-1], w[n-1]
	if current == tierAVX512 {
		scaleMulAVX512(n, &y[0], a, &x[0], &w[0])
	} else {
		scaleMulAVX2(n, &y[0], a, &x[0], &w[0])
	}
	scaleMulGeneric(y[n:], a, x[n:], w[n:])
}

//go:noescape
func dot3AVX512(n int, x, y, z *float32) float32

//go:noescape
func dot3AVX2(n int, x, y, z *float32) float32

// dot3 is dot3Generic on the current tier.
func dot3(x, y, z []float32) float32 {
	n := whole(len(x))
	if n == 0 || current == tierGeneric {
		return dot3Generic(x, y, z)
	}
	_, _ = y[n-1], z[n-1]
	var s float32
	if current == tierAVX512 {
		s = dot3AVX512(n, &x[0], &y[0], &z[0])
	} else {
		s = dot3AVX2(n, &x[0], &y[0], &z[0])
	}
	return s + dot3Generic(x[n:], y[n:], z[n:])
}

//go:noescape
func addMulAxpyAVX512(n int, dst *float32, a float32, x, y *float32, b float32, z *float32)

//go:noescape
func addMulAxpyAVX2(n int, dst *float32, a float32, x, y *float32, b float32, z *float32)

// addMulAxpy is addMulAxpyGeneric on the current tier.
func addMulAxpy(dst []float32, a float32, x, y []float32, b float32, z []float32) {
	n := whole(len(z))
	if n == 0 || current == tierGeneric {
		addMulAxpyGeneric(dst, a, x, y, b, z)
		return
	}
	_, _, _ = dst[n-1], x[n-1], y[n-1]
	if current == tierAVX512 {
		addMulAxpyAVX512(n, &dst[0], a, &x[0], &y[0], b, &z[0])
	} else {
		addMulAxpyAVX2(n, &dst[0], a, &x[0], &y[0], b, &z[0])
	}
	addMulAxpyGeneric(dst[n:], a, x[n:], y[n:], b, z[n:])
}
