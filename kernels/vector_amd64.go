//go:build !purego

package kernels

//go:noescape
func dotAVX512(n int, x, y *float32) float32

//go:noescape
func dotAVX2(n int, x, y *float32) float32

// dot is dotGeneric on the current tier.
func dot(x, y []float32) float32 {
	n := whole(len(x))
	if n == 0 || current == tierGeneric {
		return dotGeneric(x, y)
	}
	_ = y[n-1]
	var s float32
	if current == tierAVX512 {
		s = dotAVX512(n, &x[0], &y[0])
	} else {
		s = dotAVX2(n, &x[0], &y[0])
	}
	return s + dotGeneric(x[n:], y[n:])
}

//go:noescape
func axpyAVX512(n int, a float32, x, y *float32)

//go:noescape
func axpyAVX2(n int, a float32, x, y *float32)

// axpy is axpyGeneric on the current tier.
func axpy(a float32, x, y []float32) {
	n := whole(len(x))
	if n == 0 || current == tierGeneric {
		axpyGeneric(a, x, y)
		return
	}
	_ = y[n-1]
	if current == tierAVX512 {
		axpyAVX512(n, a, &x[0], &y[0])
	} else {
		axpyAVX2(n, a, &x[0], &y[0])
	}
	axpyGeneric(a, x[n:], y[n:])
}

//go:noescape
func scaleAVX512(n int, a float32, x *float32)

//go:noescape
func scaleAVX2(n int, a float32, x *float32)

// scale is scaleGeneric on the current tier.
func scale(a float32, x []float32) {
	n := whole(len(x))
	if n == 0 || current == tierGeneric {
		scaleGeneric(a, x)
		return
	}
	if current == tierAVX512 {
		scaleAVX512(n, a, &x[0])
	} else {
		scaleAVX2(n, a, &x[0])
	}
	scaleGeneric(a, x[n:])
}

//go:noescape
func addAVX512(n int, dst, x *float32)

//go:noescape
func addAVX2(n int, dst, x *float32)

// add is addGeneric on the current tier.
func add(dst, x []float32) {
	n := whole(len(dst))
	if n == 0 || current == tierGeneric {
		addGeneric(dst, x)
		return
	}
	_ = x[n-1]
	if current == tierAVX512 {
		addAVX512(n, &dst[0], &x[0])
	} else {
		addAVX2(n, &dst[0], &x[0])
	}
	addGeneric(dst[n:], x[n:])
}

//go:noescape
func mulAVX512(n int, dst, x *float32)

//go:noescape
func mulAVX2(n int, dst, x *float32)

// mul is mulGeneric on the current tier.
func mul(dst, x []float32) {
	n := whole(len(dst))
	if n == 0 || current == tierGeneric {
		mulGeneric(dst, x)
		return
	}
	_ = x[n-1]
	if current == tierAVX512 {
		mulAVX512(n, &dst[0], &x[0])
	} else {
		mulAVX2(n, &dst[0], &x[0])
	}
	mulGeneric(dst[n:], x[n:])
}

//go:noescape
func sumSquaresAVX512(n int, x *float32) float64

//go:noescape
func sumSquaresAVX2(n int, x *float32) float64

// sumSquares is sumSquaresGeneric on the current tier.
func sumSquares(x []float32) float64 {
	n := whole(len(x))
	if n == 0 || current == tierGeneric {
		return sumSquaresGeneric(x)
	}
	var s float64
	if current == tierAVX512 {
		s = sumSquaresAVX512(n, &x[0])
	} else {
		s = sumSquaresAVX2(n, &x[0])
	}
	return s + sumSquaresGeneric(x[n:])
}

//go:noescape
func maxAVX512(n int, x *float32) float32

//go:noescape
func maxAVX2(n int, x *float32) float32

// maximum is maximumGeneric on the current tier.
func maximum(x []float32) float32 {
	n := whole(len(x))
	if n == 0 || current == tierGeneric {
		return maximumGeneric(x)
	}
	var m float32
	if current == tierAVX512 {
		m = maxAVX512(n, &x[0])
	} else {
		m = maxAVX2(n, &x[0])
	}
	return max(m, maximumGeneric(x[n:]))
}
