//go:build (!amd64 && !arm64) || purego

package kernels

func scaleMul(y []float32, a float32, x, w []float32) { scaleMulGeneric(y, a, x, w) }

func dot3(x, y, z []float32) float32 { return dot3Generic(x, y, z) }

func addMulAxpy(dst []float32, a float32, x, y []float32, b float32, z []float32) {
	addMulAxpyGeneric(dst, a, x, y, b, z)
}

func sum(x []float32) float64 { return sumGeneric(x) }

func shift(a float32, x []float32) { shiftGeneric(a, x) }
