//go:build !purego

package kernels

//go:noescape
func expSumAVX512(n int, x *float32, max float32) float32

//go:noescape
func expSumAVX2(n int, x *float32, max float32) float32

func expSum(x []float32, max float32) float32 {
	switch current {
	case tierAVX512, tierAMX:
		return expSumAVX512(len(x), ptr(x), max)
	case tierAVX2:
		return expSumAVX2(len(x), ptr(x), max)
	}
	return expSumGeneric(x, max)
}
