//go:build !purego

package kernels

//go:noescape
func softCapNEON(n int, x *float32, limit, inverse float32)

func softCap(x []float32, limit, inverse float32) {
	if current >= tierNEON {
		softCapNEON(len(x), ptr(x), limit, inverse)
		return
	}
	softCapGeneric(x, limit, inverse)
}
