//go:build !purego

package kernels

//go:noescape
func softCapAVX512(n int, x *float32, limit, inverse float32)

//go:noescape
func softCapAVX2(n int, x *float32, limit, inverse float32)

func softCap(x []float32, limit, inverse float32) {
	switch current {
	case tierAVX512, tierAMX:
		softCapAVX512(len(x), ptr(x), limit, inverse)
	case tierAVX2:
		softCapAVX2(len(x), ptr(x), limit, inverse)
	default:
		softCapGeneric(x, limit, inverse)
	}
}
