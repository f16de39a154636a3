//go:build (!amd64 && !arm64) || purego

package kernels

func swiglu(y, g, u []float32) { swigluGeneric(y, g, u) }

func swigluBackward(dg, du, dy, g, u []float32) { swigluBackwardGeneric(dg, du, dy, g, u) }

func gated(y, g, u []float32, a, b float32) { gatedGeneric(y, g, u, a, b) }

func gatedBackward(dg, du, dy, g, u []float32, a, b float32) {
	gatedBackwardGeneric(dg, du, dy, g, u, a, b)
}

func sigmoidMul(y, x, g []float32) { sigmoidMulGeneric(y, x, g) }

func sigmoidMulBackward(dx, dg, dy, x, g []float32) { sigmoidMulBackwardGeneric(dx, dg, dy, x, g) }

func clamp(y, x []float32, low, high float32) { clampGeneric(y, x, low, high) }

func addWithin(dst, d, x []float32, low, high float32) { addWithinGeneric(dst, d, x, low, high) }
