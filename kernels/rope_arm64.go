//go:build !purego

package kernels

//go:noescape
func ropeNEON(n int, x, cos, sin *float32)

func rope(x, cos, sin []float32) {
	if current >= tierNEON {
		ropeNEON(len(cos), ptr(x), ptr(cos), ptr(sin))
	} else {
		ropeGeneric(x, cos, sin)
	}
}

//go:noescape
func ropeNeoxNEON(n int, x, y, cos, sin *float32)

func ropeNeox(x, y, cos, sin []float32) {
	if current >= tierNEON {
		ropeNeoxNEON(len(cos), ptr(x), ptr(y), ptr(cos), ptr(sin))
	} else {
		ropeNeoxGeneric(x, y, cos, sin)
	}
}
