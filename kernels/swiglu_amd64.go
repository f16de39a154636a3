//go:build !purego

package kernels

//go:noescape
func swigluAVX512(n int, y, gate, u *float32)

//go:noescape
func swigluAVX2(n int, y, gate, u *float32)

func swiglu(y, g, u []float32) {
	switch current {
	case tierAVX512, tierAMX:
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
	case tierAVX512, tierAMX:
		swigluBackwardAVX512(len(dy), ptr(dg), ptr(du), ptr(dy), ptr(g), ptr(u))
	case tierAVX2:
		swigluBackwardAVX2(len(dy), ptr(dg), ptr(du), ptr(dy), ptr(g), ptr(u))
	default:
		swigluBackwardGeneric(dg, du, dy, g, u)
	}
}

//go:noescape
func gatedAVX512(n int, y, gate, u *float32, a, b float32)

//go:noescape
func gatedAVX2(n int, y, gate, u *float32, a, b float32)

func gated(y, g, u []float32, a, b float32) {
	switch current {
	case tierAVX512, tierAMX:
		gatedAVX512(len(y), ptr(y), ptr(g), ptr(u), a, b)
	case tierAVX2:
		gatedAVX2(len(y), ptr(y), ptr(g), ptr(u), a, b)
	default:
		gatedGeneric(y, g, u, a, b)
	}
}

//go:noescape
func gatedBackwardAVX512(n int, dg, du, dy, gate, u *float32, a, b float32)

//go:noescape
func gatedBackwardAVX2(n int, dg, du, dy, gate, u *float32, a, b float32)

func gatedBackward(dg, du, dy, g, u []float32, a, b float32) {
	switch current {
	case tierAVX512, tierAMX:
		gatedBackwardAVX512(len(dy), ptr(dg), ptr(du), ptr(dy), ptr(g), ptr(u), a, b)
	case tierAVX2:
		gatedBackwardAVX2(len(dy), ptr(dg), ptr(du), ptr(dy), ptr(g), ptr(u), a, b)
	default:
		gatedBackwardGeneric(dg, du, dy, g, u, a, b)
	}
}

//go:noescape
func sigmoidMulAVX512(n int, y, x, gate *float32)

//go:noescape
func sigmoidMulAVX2(n int, y, x, gate *float32)

func sigmoidMul(y, x, g []float32) {
	switch current {
	case tierAVX512, tierAMX:
		sigmoidMulAVX512(len(y), ptr(y), ptr(x), ptr(g))
	case tierAVX2:
		sigmoidMulAVX2(len(y), ptr(y), ptr(x), ptr(g))
	default:
		sigmoidMulGeneric(y, x, g)
	}
}

//go:noescape
func sigmoidMulBackwardAVX512(n int, dx, dg, dy, x, gate *float32)

//go:noescape
func sigmoidMulBackwardAVX2(n int, dx, dg, dy, x, gate *float32)

func sigmoidMulBackward(dx, dg, dy, x, g []float32) {
	switch current {
	case tierAVX512, tierAMX:
		sigmoidMulBackwardAVX512(len(dy), ptr(dx), ptr(dg), ptr(dy), ptr(x), ptr(g))
	case tierAVX2:
		sigmoidMulBackwardAVX2(len(dy), ptr(dx), ptr(dg), ptr(dy), ptr(x), ptr(g))
	default:
		sigmoidMulBackwardGeneric(dx, dg, dy, x, g)
	}
}

//go:noescape
func clampAVX512(n int, y, x *float32, low, high float32)

//go:noescape
func clampAVX2(n int, y, x *float32, low, high float32)

func clamp(y, x []float32, low, high float32) {
	switch current {
	case tierAVX512, tierAMX:
		clampAVX512(len(y), ptr(y), ptr(x), low, high)
	case tierAVX2:
		clampAVX2(len(y), ptr(y), ptr(x), low, high)
	default:
		clampGeneric(y, x, low, high)
	}
}

//go:noescape
func addWithinAVX512(n int, dst, d, x *float32, low, high float32)

//go:noescape
func addWithinAVX2(n int, dst, d, x *float32, low, high float32)

func addWithin(dst, d, x []float32, low, high float32) {
	switch current {
	case tierAVX512, tierAMX:
		addWithinAVX512(len(x), ptr(dst), ptr(d), ptr(x), low, high)
	case tierAVX2:
		addWithinAVX2(len(x), ptr(dst), ptr(d), ptr(x), low, high)
	default:
		addWithinGeneric(dst, d, x, low, high)
	}
}
