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

// gatedLimit bounds the gate inside of the polynomial of Gated, so that it does not overflow: sigmoid is 0 or 1 there.
const gatedLimit = 1e4

// Gated is SwiGLU with the sigmoid of a polynomial of the gate, z(g) = a*g + b*g³:
//
//	for i := range y { y[i] = g[i] / (1 + exp(-z(g[i]))) * u[i] }
//
// With the numbers of GELU it is gelu(g)*u. y may be g or u.
func Gated(y, g, u []float32, a, b float32) {
	if len(g) != len(y) || len(u) != len(y) {
		panic("kernels: Gated of slices of different lengths")
	}
	n := whole(len(y))
	gated(y[:n], g[:n], u[:n], a, b)
	gatedGeneric(y[n:], g[n:], u[n:], a, b)
}

func gatedGeneric(y, g, u []float32, a, b float32) {
	g, u = g[:len(y)], u[:len(y)]
	for i := range y {
		_, z := gatedCube(g[i], a, b)
		y[i] = g[i] / (1 + expGeneric(-z)) * u[i]
	}
}

// gatedCube is g within its limits, and the polynomial there.
func gatedCube(g, a, b float32) (h, z float32) {
	h = min(max(g, -gatedLimit), gatedLimit)
	return h, (a + b*h*h) * h
}

// GELUGate are the numbers a and b with which Gated is gelu(g)*u in the form of the tanh (Hendrycks, Gimpel 2016):
// 0.5*g*(1+tanh(k*(g+0.044715*g³))) with k = sqrt(2/π), which is g*sigmoid(2*k*(g+0.044715*g³)).
const (
	GELUGateA = 1.5957691216057308
	GELUGateB = 0.044715 * GELUGateA
)

// GatedBackward adds the gradients of Gated to dg and du, with s = 1 / (1 + exp(-z(g))):
//
//	for i := range dy {
//		dg[i] += dy[i] * u[i] * s * (1 + (a*g[i]+3*b*g[i]³)*(1-s))
//		du[i] += dy[i] * g[i] * s
//	}
func GatedBackward(dg, du, dy, g, u []float32, a, b float32) {
	if len(dg) != len(dy) || len(du) != len(dy) || len(g) != len(dy) || len(u) != len(dy) {
		panic("kernels: GatedBackward of slices of different lengths")
	}
	n := whole(len(dy))
	gatedBackward(dg[:n], du[:n], dy[:n], g[:n], u[:n], a, b)
	gatedBackwardGeneric(dg[n:], du[n:], dy[n:], g[n:], u[n:], a, b)
}

func gatedBackwardGeneric(dg, du, dy, g, u []float32, a, b float32) {
	n := len(dy)
	dg, du, g, u = dg[:n], du[:n], g[:n], u[:n]
	for i, d := range dy {
		h, z := gatedCube(g[i], a, b)
		s := 1 / (1 + expGeneric(-z))
		dg[i] += d * u[i] * s * (1 + (z+2*(z-a*h))*(1-s))
		du[i] += d * g[i] * s
	}
}

// SigmoidMul is
//
//	for i := range y { y[i] = x[i] / (1 + exp(-g[i])) }
//
// y may be x or g.
func SigmoidMul(y, x, g []float32) {
	if len(x) != len(y) || len(g) != len(y) {
		panic("kernels: SigmoidMul of slices of different lengths")
	}
	n := whole(len(y))
	sigmoidMul(y[:n], x[:n], g[:n])
	sigmoidMulGeneric(y[n:], x[n:], g[n:])
}

func sigmoidMulGeneric(y, x, g []float32) {
	x, g = x[:len(y)], g[:len(y)]
	for i := range y {
		y[i] = x[i] / (1 + expGeneric(-g[i]))
	}
}

// SigmoidMulBackward adds the gradients of SigmoidMul to dx and dg, with s = 1 / (1 + exp(-g)):
//
//	for i := range dy {
//		dx[i] += dy[i] * s
//		dg[i] += dy[i] * s * (1-s) * x[i]
//	}
func SigmoidMulBackward(dx, dg, dy, x, g []float32) {
	if len(dx) != len(dy) || len(dg) != len(dy) || len(x) != len(dy) || len(g) != len(dy) {
		panic("kernels: SigmoidMulBackward of slices of different lengths")
	}
	n := whole(len(dy))
	sigmoidMulBackward(dx[:n], dg[:n], dy[:n], x[:n], g[:n])
	sigmoidMulBackwardGeneric(dx[n:], dg[n:], dy[n:], x[n:], g[n:])
}

func sigmoidMulBackwardGeneric(dx, dg, dy, x, g []float32) {
	n := len(dy)
	dx, dg, x, g = dx[:n], dg[:n], x[:n], g[:n]
	for i, d := range dy {
		s := 1 / (1 + expGeneric(-g[i]))
		dx[i] += d * s
		dg[i] += d * s * (1 - s) * x[i]
	}
}

// Clamp is
//
//	for i := range y { y[i] = min(max(x[i], low), high) }
//
// y may be x. A NaN stays one.
func Clamp(y, x []float32, low, high float32) {
	if len(x) != len(y) {
		panic("kernels: Clamp of slices of different lengths")
	}
	n := whole(len(y))
	clamp(y[:n], x[:n], low, high)
	clampGeneric(y[n:], x[n:], low, high)
}

func clampGeneric(y, x []float32, low, high float32) {
	x = x[:len(y)]
	for i, v := range x {
		y[i] = min(max(v, low), high)
	}
}

// AddWithin adds the gradient of Clamp to dst, or that of another function with limits:
//
//	for i := range x {
//		if low <= x[i] && x[i] <= high { dst[i] += d[i] }
//	}
//
// Where x is NaN, d is added.
func AddWithin(dst, d, x []float32, low, high float32) {
	if len(dst) != len(x) || len(d) != len(x) {
		panic("kernels: AddWithin of slices of different lengths")
	}
	n := whole(len(x))
	addWithin(dst[:n], d[:n], x[:n], low, high)
	addWithinGeneric(dst[n:], d[n:], x[n:], low, high)
}

func addWithinGeneric(dst, d, x []float32, low, high float32) {
	dst, d = dst[:len(x)], d[:len(x)]
	for i, v := range x {
		if !(v < low) && !(high < v) {
			dst[i] += d[i]
		}
	}
}
