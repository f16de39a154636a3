//go:build (!amd64 && !arm64) || purego

package kernels

func dot(x, y []float32) float32 { return dotGeneric(x, y) }

func axpy(a float32, x, y []float32) { axpyGeneric(a, x, y) }

func scale(a float32, x []float32) { scaleGeneric(a, x) }

func add(dst, x []float32) { addGeneric(dst, x) }

func mul(dst, x []float32) { mulGeneric(dst, x) }

func mulAdd(dst, x, y []float32) { mulAddGeneric(dst, x, y) }

func sumSquares(x []float32) float64 { return sumSquaresGeneric(x) }

func maximum(x []float32) float32 { return maximumGeneric(x) }
