//go:build !purego

package kernels

//go:noescape
func ropeAVX512(n int, x, cos, sin *float32)

//go:noescape
func ropeAVX2(n int, x, cos, sin *float32)

// rope is ropeGeneric on the current tier.
func rope(x, cos, sin []float32) {
	n := whole(len(cos))
	if n == 0 || current == tierGeneric {
		ropeGeneric(x, cos, sin)
		return
	}
	_, _ = x[2*n-1], sin[n-1]
	if current == tierAVX512 {
		ropeAVX512(n, &x[0], &cos[0], &sin[0])
	} else {
		ropeAVX2(n, &x[0], &cos[0], &sin[0])
	}
	ropeGeneric(x[2*n:], cos[n:], sin[n:])
}

//go:noescape
func ropeNeoxAVX512(n int, x, y, cos, sin *float32)

//go:noescape
func ropeNeoxAVX2(n int, x, y, cos, sin *float32)

// ropeNeox is ropeNeoxGeneric on the current tier.
func ropeNeox(x, y, cos, sin []float32) {
	n := whole(len(cos))
	if n == 0 || current == tierGeneric {
		ropeNeoxGeneric(x, y, cos, sin)
		return
	}
	_, _, _ = x[n-1], y[n-1], sin[n-1]
	if current == tierAVX512 {
		ropeNeoxAVX512(n, &x[0], &y[0], &cos[0], &sin[0])
	} else {
		ropeNeoxAVX2(n, &x[0], &y[0], &cos[0], &sin[0])
	}
	ropeNeoxGeneric(x[n:], y[n:], cos[n:], sin[n:])
}
