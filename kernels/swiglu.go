package kernels

// SwiGLU is the gated activation, with silu(g) = g / (1 + exp(-g)):
//
//	for i := range y { y[i] = silu(g[i]) * u[i] }
//
// y may be g or u.
func SwiGLU(y, g, u []float32) {
	if len(g) != len(y) || len(u) != len(y) {
		panic("kernels: SwiGLU of slices of different lengths")
	}
	n := whole(len(y))
	swiglu(y[:n], g[:n], u[:n])
	swigluGeneric(y[n:], g[n:], u[n:])
}

func swigluGeneric(y, g, u []float32) {
	g, u = g[:len(y)], u[:len(y)]
	for i := range y {
		y[i] = g[i] / (1 + expGeneric(-g[i])) * u[i]
	}
}

// SwiGLUBackward adds the gradients of SwiGLU to dg and du, with s = 1 / (1 + exp(-g)):
//
//	for i := range dy {
//		dg[i] += dy[i] * u[i] * s * (1 + g[i]*(1-s))
//		du[i] += dy[i] * g[i] * s
//	}
func SwiGLUBackward(dg, du, dy, g, u []float32) {
	if len(dg) != len(dy) || len(du) != len(dy) || len(g) != len(dy) || len(u) != len(dy) {
		panic("kernels: SwiGLUBackward of slices of different lengths")
	}
	n := whole(len(dy))
	swigluBackward(dg[:n], du[:n], dy[:n], g[:n], u[:n])
	swigluBackwardGeneric(dg[n:], du[n:], dy[n:], g[n:], u[n:])
}

func swigluBackwardGeneric(dg, du, dy, g, u []float32) {
	n := len(dy)
	dg, du, g, u = dg[:n], du[:n], g[:n], u[:n]
	for i, d := range dy {
		s := 1 / (1 + expGeneric(-g[i]))
		dg[i] += d * u[i] * s * (1 + g[i]*(1-s))
		du[i] += d * g[i] * s
	}
}
