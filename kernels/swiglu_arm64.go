//go:build !purego

package kernels

//go:noescape
func swigluNEON(n int, y, gate, u *float32)

func swiglu(y, g, u []float32) {
	if current >= tierNEON {
		swigluNEON(len(y), ptr(y), ptr(g), ptr(u))
	} else {
		swigluGeneric(y, g, u)
	}
}

//go:noescape
func swigluBackwardNEON(n int, dg, du, dy, gate, u *float32)

func swigluBackward(dg, du, dy, g, u []float32) {
	if current >= tierNEON {
		swigluBackwardNEON(len(dy), ptr(dg), ptr(du), ptr(dy), ptr(g), ptr(u))
	} else {
		swigluBackwardGeneric(dg, du, dy, g, u)
	}
}

//go:noescape
func gatedNEON(n int, y, gate, u *float32, a, b float32)

func gated(y, g, u []float32, a, b float32) {
	if current >= tierNEON {
		gatedNEON(len(y), ptr(y), ptr(g), ptr(u), a, b)
	} else {
		gatedGeneric(y, g, u, a, b)
	}
}

//go:noescape
func gatedBackwardNEON(n int, dg, du, dy, gate, u *float32, a, b float32)

func gatedBackward(dg, du, dy, g, u []float32, a, b float32) {
	if current >= tierNEON {
		gatedBackwardNEON(len(dy), ptr(dg), ptr(du), ptr(dy), ptr(g), ptr(u), a, b)
	} else {
		gatedBackwardGeneric(dg, du, dy, g, u, a, b)
	}
}

//go:noescape
func sigmoidMulNEON(n int, y, x, gate *float32)

func sigmoidMul(y, x, g []float32) {
	if current >= tierNEON {
		sigmoidMulNEON(len(y), ptr(y), ptr(x), ptr(g))
	} else {
		sigmoidMulGeneric(y, x, g)
	}
}

//go:noescape
func sigmoidMulBackwardNEON(n int, dx, dg, dy, x, gate *float32)

func sigmoidMulBackward(dx, dg, dy, x, g []float32) {
	if current >= tierNEON {
		sigmoidMulBackwardNEON(len(dy), ptr(dx), ptr(dg), ptr(dy), ptr(x), ptr(g))
	} else {
		sigmoidMulBackwardGeneric(dx, dg, dy, x, g)
	}
}

//go:noescape
func clampNEON(n int, y, x *float32, low, high float32)

func clamp(y, x []float32, low, high float32) {
	if current >= tierNEON {
		clampNEON(len(y), ptr(y), ptr(x), low, high)
	} else {
		clampGeneric(y, x, low, high)
	}
}

//go:noescape
func addWithinNEON(n int, dst, d, x *float32, low, high float32)

func addWithin(dst, d, x []float32, low, high float32) {
	if current >= tierNEON {
		addWithinNEON(len(x), ptr(dst), ptr(d), ptr(x), low, high)
	} else {
		addWithinGeneric(dst, d, x, low, high)
	}
}
