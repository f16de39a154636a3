//go:build !purego

package kernels

//go:noescape
func dotAVX512(n int, x, y *float32) float32

//go:noescape
func dotAVX2(n int, x, y *float32) float32

func dot(x, y []float32) float32 {
	switch current {
	case tierAVX512, tierAMX:
		return dotAVX512(len(x), ptr(x), ptr(y))
	case tierAVX2:
		return dotAVX2(len(x), ptr(x), ptr(y))
	}
	return dotGeneric(x, y)
}

//go:noescape
func axpyAVX512(n int, a float32, x, y *float32)

//go:noescape
func axpyAVX2(n int, a float32, x, y *float32)

func axpy(a float32, x, y []float32) {
	switch current {
	case tierAVX512, tierAMX:
		axpyAVX512(len(x), a, ptr(x), ptr(y))
	case tierAVX2:
		axpyAVX2(len(x), a, ptr(x), ptr(y))
	default:
		axpyGeneric(a, x, y)
	}
}

//go:noescape
func scaleAVX512(n int, a float32, x *float32)

//go:noescape
func scaleAVX2(n int, a float32, x *float32)

func scale(a float32, x []float32) {
	switch current {
	case tierAVX512, tierAMX:
		scaleAVX512(len(x), a, ptr(x))
	case tierAVX2:
		scaleAVX2(len(x), a, ptr(x))
	default:
		scaleGeneric(a, x)
	}
}

//go:noescape
func addAVX512(n int, dst, x *float32)

//go:noescape
func addAVX2(n int, dst, x *float32)

func add(dst, x []float32) {
	switch current {
	case tierAVX512, tierAMX:
		addAVX512(len(dst), ptr(dst), ptr(x))
	case tierAVX2:
		addAVX2(len(dst), ptr(dst), ptr(x))
	default:
		addGeneric(dst, x)
	}
}

//go:noescape
func mulAVX512(n int, dst, x *float32)

//go:noescape
func mulAVX2(n int, dst, x *float32)

func mul(dst, x []float32) {
	switch current {
	case tierAVX512, tierAMX:
		mulAVX512(len(dst), ptr(dst), ptr(x))
	case tierAVX2:
		mulAVX2(len(dst), ptr(dst), ptr(x))
	default:
		mulGeneric(dst, x)
	}
}

//go:noescape
func mulAddAVX512(n int, dst, x, y *float32)

//go:noescape
func mulAddAVX2(n int, dst, x, y *float32)

func mulAdd(dst, x, y []float32) {
	switch current {
	case tierAVX512, tierAMX:
		mulAddAVX512(len(dst), ptr(dst), ptr(x), ptr(y))
	case tierAVX2:
		mulAddAVX2(len(dst), ptr(dst), ptr(x), ptr(y))
	default:
		mulAddGeneric(dst, x, y)
	}
}

//go:noescape
func sumSquaresAVX512(n int, x *float32) float64

//go:noescape
func sumSquaresAVX2(n int, x *float32) float64

func sumSquares(x []float32) float64 {
	switch current {
	case tierAVX512, tierAMX:
		return sumSquaresAVX512(len(x), ptr(x))
	case tierAVX2:
		return sumSquaresAVX2(len(x), ptr(x))
	}
	return sumSquaresGeneric(x)
}

//go:noescape
func maxAVX512(n int, x *float32) float32

//go:noescape
func maxAVX2(n int, x *float32) float32

func maximum(x []float32) float32 {
	switch current {
	case tierAVX512, tierAMX:
		return maxAVX512(len(x), ptr(x))
	case tierAVX2:
		return maxAVX2(len(x), ptr(x))
	}
	return maximumGeneric(x)
}
