//go:build (!amd64 && !arm64) || purego

package kernels

func swiglu(y, g, u []float32) { swigluGeneric(y, g, u) }

func swigluBackward(dg, du, dy, g, u []float32) { swigluBackwardGeneric(dg, du, dy, g, u) }
