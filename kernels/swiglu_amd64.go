//go:build !purego

package kernels

//go:noescape
func swigluAVX512(n int, y, gate, u *float32)

//go:noescape
func swigluAVX2(n int, y, gate, u *float32)

// swiglu is swigluGeneric on the current tier.
func swiglu(y, g, u []float32) {
	n := whole(len(y))
	if n == 0 || current == tierGeneric {
		swigluGeneric(y, g, u)
		return
	}
	_, _ = g[n-1], u[n-1]
	if current == tierAVX512 {
		swigluAVX512(n, &y[0], &g[0], &u[0])
	} else {
		swigluAVX2(n, &y[0], &g[0], &u[0])
	}
	swigluGeneric(y[n:], g[n:], u[n:])
}

//go:noescape
func swigluBackwardAVX512(n int, dg, du, dy, gate, u *float32)

//go:noescape
func swigluBackwardAVX2(n int, dg, du, dy, gate, u *float32)

// swigluBackward is swigluBackwardGeneric on the current tier.
func swigluBackward(dg, du, dy, g, u []float32) {
	n := whole(len(dy))
	if n == 0 || current == tierGeneric {
		swigluBackwardGeneric(dg, du, dy, g, u)
		return
	}
	_, _, _, _ = dg[n-1], du[n-1], g[n-1], u[n-1]
	if current == tierAVX512 {
		swigluBackwardAVX512(n, &dg[0], &du[0], &dy[0], &g[0], &u[0])
	} else {
		swigluBackwardAVX2(n, &dg[0], &du[0], &dy[0], &g[0], &u[0])
	}
	swigluBackwardGeneric(dg[n:], du[n:], dy[n:], g[n:], u[n:])
}
