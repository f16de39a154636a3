//go:build !purego

package kernels

//go:noescape
func swigluNEON(n int, y, gate, u *float32)

func swiglu(y, g, u []float32) {
	if current == tierNEON {
		swigluNEON(len(y), ptr(y), ptr(g), ptr(u))
	} else {
		swigluGeneric(y, g, u)
	}
}

//go:noescape
func swigluBackwardNEON(n int, dg, du, dy, gate, u *float32)

func swigluBackward(dg, du, dy, g, u []float32) {
	if current == tierNEON {
		swigluBackwardNEON(len(dy), ptr(dg), ptr(du), ptr(dy), ptr(g), ptr(u))
	} else {
		swigluBackwardGeneric(dg, du, dy, g, u)
	}
}
