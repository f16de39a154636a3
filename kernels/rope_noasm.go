//go:build (!amd64 && !arm64) || purego

package kernels

func rope(x, cos, sin []float32) { ropeGeneric(x, cos, sin) }

func ropeNeox(x, y, cos, sin []float32) { ropeNeoxGeneric(x, y, cos, sin) }
