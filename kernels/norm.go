package kernels

import "math"

// RMSNorm normalizes one row and returns 1/rms, which the backward pass needs:
//
//	rinv = 1 / sqrt(mean(x*x) + eps)
//	for i := range x { y[i] = x[i] * rinv * w[i] }
//
// y may be x.
func RMSNorm(y, x, w []float32, eps float32) (rinv float32) {
	if len(y) != len(x) || len(w) != len(x) {
		panic("kernels: RMSNorm of slices of different lengths")
	}
	rinv = float32(1 / math.Sqrt(SumSquares(x)/float64(len(x))+float64(eps)))
	n := whole(len(x))
	scaleMul(y[:n], rinv, x[:n], w[:n])
	scaleMulGeneric(y[n:], rinv, x[n:], w[n:])
	return rinv
}

// scaleMulGeneric is
//
//	for i := range x { y[i] = x[i] * a * w[i] }
func scaleMulGeneric(y []float32, a float32, x, w []float32) {
	y, w = y[:len(x)], w[:len(x)]
	for i, v := range x {
		y[i] = v * a * w[i]
	}
}

// RMSNormBackward adds to dx the gradient of RMSNorm with respect to x; rinv is the result of the forward pass:
//
//	s = sum(dy * w * x) * rinv^3 / len(x)
//	for i := range x { dx[i] += dy[i]*w[i]*rinv - x[i]*s }
func RMSNormBackward(dx, dy, x, w []float32, rinv float32) {
	if len(dx) != len(x) || len(dy) != len(x) || len(w) != len(x) {
		panic("kernels: RMSNormBackward of slices of different lengths")
	}
	n := whole(len(x))
	s := dot3(dy[:n], w[:n], x[:n]) + dot3Generic(dy[n:], w[n:], x[n:])
	s *= rinv * rinv * rinv / float32(len(x))
	addMulAxpy(dx[:n], rinv, dy[:n], w[:n], -s, x[:n])
	addMulAxpyGeneric(dx[n:], rinv, dy[n:], w[n:], -s, x[n:])
}

// dot3Generic is the sum of x[i]*y[i]*z[i].
func dot3Generic(x, y, z []float32) float32 {
	var s float32
	y, z = y[:len(x)], z[:len(x)]
	for i, v := range x {
		s += v * y[i] * z[i]
	}
	return s
}

// addMulAxpyGeneric is
//
//	for i := range z { dst[i] += a*x[i]*y[i] + b*z[i] }
func addMulAxpyGeneric(dst []float32, a float32, x, y []float32, b float32, z []float32) {
	dst, x, y = dst[:len(z)], x[:len(z)], y[:len(z)]
	for i, v := range z {
		dst[i] += a*x[i]*y[i] + b*v
	}
}
