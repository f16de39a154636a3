package kernels

import "math"

// SoftCap keeps numbers between -limit and limit:
//
//	for i := range x { x[i] = limit * tanh(x[i]/limit) }
//
// The error of each is below 5 units in the last place of the result.
func SoftCap(limit float32, x []float32) {
	n := whole(len(x))
	softCap(x[:n], limit, 1/limit)
	softCapGeneric(x[n:], limit, 1/limit)
}

// softCapGeneric has the reciprocal of the limit, which llama.cpp multiplies by as well.
func softCapGeneric(x []float32, limit, inverse float32) {
	for i, v := range x {
		x[i] = limit * float32(math.Tanh(float64(v*inverse)))
	}
}
