//go:build !purego

package kernels

//go:noescape
func swigluAVX512(n int, y, gate, u *float32)

//go:noescape
func swigluAVX2(n int, y, gate, u *float32)

func swiglu(y, g, u []float32) {
	switch current {
	case tierAVX512:
		swigluAVX512(len(y), ptr(y), ptr(g), ptr(u))
	case tierAVX2:
		swigluAVX2(len(y), ptr(y), ptr(g), ptr(u))
	default:
		swigluGeneric(y, g, u)
	}
}

//go:noescape
func swigluBackwardAVX512(n int, dg, du, dy, gate, u *float32)

//go:noescape
func swigluBackwardAVX2(n int, dg, du, dy, gate, u *float32)

func swigluBackward(dg, du, dy, g, u []float32) {
	switch current {
	case tierAVX512:
		swigluBackwardAVX512(len(dy), ptr(dg), ptr(du), ptr(dy), ptr(g), ptr(u))
	case tierAVX2:
		swigluBackwardAVX2(len(dy), ptr(dg), ptr(du), ptr(dy), ptr(g), ptr(u))
	default:
		swigluBackwardGeneric(dg, du, dy, g, u)
	}
}
