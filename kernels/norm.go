package kernels

import "math"

// RMSNorm normalizes one row and returns 1/rms, which the backward pass needs:
//
//	rinv = 1 / sqrt(mean(x*x) + eps)
//	for i := range x { y[i] = x[i] * rinv * w[i] }
//
// y may be x. Without weights (nil) w is 1.
func RMSNorm(y, x, w []float32, eps float32) (rinv float32) {
	if len(y) != len(x) || w != nil && len(w) != len(x) {
		panic("kernels: RMSNorm of slices of different lengths")
	}
	rinv = float32(1 / math.Sqrt(SumSquares(x)/float64(len(x))+float64(eps)))
	scaleBy(y, rinv, x, w)
	return rinv
}

// scaleBy is y = x * a * w, or y = x * a without w.
func scaleBy(y []float32, a float32, x, w []float32) {
	if w == nil {
		copy(y, x)
		Scale(a, y)
		return
	}
	n := whole(len(x))
	scaleMul(y[:n], a, x[:n], w[:n])
	scaleMulGeneric(y[n:], a, x[n:], w[n:])
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
//
// Without weights (nil) w is 1.
func RMSNormBackward(dx, dy, x, w []float32, rinv float32) {
	if len(dx) != len(x) || len(dy) != len(x) || w != nil && len(w) != len(x) {
		panic("kernels: RMSNormBackward of slices of different lengths")
	}
	s := dotBy(dy, w, x) * (rinv * rinv * rinv / float32(len(x)))
	addScaled(dx, rinv, dy, w, -s, x)
}

// dotBy is the sum of x*w*y, or of x*y without w.
func dotBy(x, w, y []float32) float32 {
	if w == nil {
		return Dot(x, y)
	}
	n := whole(len(x))
	return dot3(x[:n], w[:n], y[:n]) + dot3Generic(x[n:], w[n:], y[n:])
}

// addScaled is dst += a*x*w + b*z, or dst += a*x + b*z without w.
func addScaled(dst []float32, a float32, x, w []float32, b float32, z []float32) {
	if w == nil {
		Axpy(a, x, dst)
		Axpy(b, z, dst)
		return
	}
	n := whole(len(x))
	addMulAxpy(dst[:n], a, x[:n], w[:n], b, z[:n])
	addMulAxpyGeneric(dst[n:], a, x[n:], w[n:], b, z[n:])
}

// LayerNorm normalizes one row (Ba, Kiros, Hinton 2016) and returns what the backward pass needs:
//
//	mean = mean(x)
//	rinv = 1 / sqrt(mean((x-mean)*(x-mean)) + eps)
//	for i := range x { y[i] = (x[i]-mean) * rinv * w[i] + b[i] }
//
// y may be x. Without weights (nil) w is 1, without biases b is 0. The sums are in float64.
func LayerNorm(y, x, w, b []float32, eps float32) (mean, rinv float32) {
	if len(y) != len(x) || w != nil && len(w) != len(x) || b != nil && len(b) != len(x) {
		panic("kernels: LayerNorm of slices of different lengths")
	}
	n := float64(len(x))
	mean = float32(Sum(x) / n)
	copy(y, x)
	Shift(-mean, y)
	rinv = float32(1 / math.Sqrt(SumSquares(y)/n+float64(eps)))
	scaleBy(y, rinv, y, w)
	if b != nil {
		Add(y, b)
	}
	return mean, rinv
}

// LayerNormBackward adds to dx the gradient of LayerNorm with respect to x; mean and rinv are the results of the
// forward pass. With h = (x-mean) * rinv:
//
//	p, q = mean(dy * w), mean(dy * w * h)
//	for i := range x { dx[i] += rinv * (dy[i]*w[i] - p - h[i]*q) }
//
// Without weights (nil) w is 1.
func LayerNormBackward(dx, dy, x, w []float32, mean, rinv float32) {
	if len(dx) != len(x) || len(dy) != len(x) || w != nil && len(w) != len(x) {
		panic("kernels: LayerNormBackward of slices of different lengths")
	}
	n := float32(len(x))
	p := sumBy(dy, w) / n
	q := rinv * (dotBy(dy, w, x)/n - mean*p)
	addScaled(dx, rinv, dy, w, -rinv*rinv*q, x)
	Shift(rinv*(rinv*mean*q-p), dx)
}

// sumBy is the sum of x*w, or of x without w.
func sumBy(x, w []float32) float32 {
	if w == nil {
		return float32(Sum(x))
	}
	return Dot(x, w)
}

// LayerNormWeights adds the gradient of the weights of LayerNorm for one row to dw:
//
//	for i := range x { dw[i] += dy[i] * (x[i]-mean) * rinv }
func LayerNormWeights(dw, dy, x []float32, mean, rinv float32) {
	if len(dw) != len(x) || len(dy) != len(x) {
		panic("kernels: LayerNormWeights of slices of different lengths")
	}
	addScaled(dw, rinv, dy, x, -mean*rinv, dy)
}

// Sum is the sum of x[i], added up in float64.
func Sum(x []float32) float64 {
	n := whole(len(x))
	return sum(x[:n]) + sumGeneric(x[n:])
}

func sumGeneric(x []float32) float64 {
	var s float64
	for _, v := range x {
		s += float64(v)
	}
	return s
}

// Shift is
//
//	for i := range x { x[i] += a }
func Shift(a float32, x []float32) {
	n := whole(len(x))
	shift(a, x[:n])
	shiftGeneric(a, x[n:])
}

func shiftGeneric(a float32, x []float32) {
	for i := range x {
		x[i] += a
	}
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
