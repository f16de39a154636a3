//go:build !purego

package kernels

//go:noescape
func expSumNEON(n int, x *float32, max float32) float32

func expSum(x []float32, max float32) float32 {
	if current >= tierNEON {
		return expSumNEON(len(x), ptr(x), max)
	}
	return expSumGeneric(x, max)
}
