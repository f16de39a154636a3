//go:build !purego

package kernels

//go:noescape
func ropeAVX512(n int, x, cos, sin *float32)

//go:noescape
func ropeAVX2(n int, x, cos, sin *float32)

func rope(x, cos, sin []float32) {
	switch current {
	case tierAVX512, tierAMX:
		ropeAVX512(len(cos), ptr(x), ptr(cos), ptr(sin))
	case tierAVX2:
		ropeAVX2(len(cos), ptr(x), ptr(cos), ptr(sin))
	default:
		ropeGeneric(x, cos, sin)
	}
}

//go:noescape
func ropeNeoxAVX512(n int, x, y, cos, sin *float32)

//go:noescape
func ropeNeoxAVX2(n int, x, y, cos, sin *float32)

func ropeNeox(x, y, cos, sin []float32) {
	switch current {
	case tierAVX512, tierAMX:
		ropeNeoxAVX512(len(cos), ptr(x), ptr(y), ptr(cos), ptr(sin))
	case tierAVX2:
		ropeNeoxAVX2(len(cos), ptr(x), ptr(y), ptr(cos), ptr(sin))
	default:
		ropeNeoxGeneric(x, y, cos, sin)
	}
}
