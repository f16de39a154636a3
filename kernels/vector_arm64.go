//go:build !purego

package kernels

//go:noescape
func dotNEON(n int, x, y *float32) float32

func dot(x, y []float32) float32 {
	if current >= tierNEON {
		return dotNEON(len(x), ptr(x), ptr(y))
	}
	return dotGeneric(x, y)
}

//go:noescape
func axpyNEON(n int, a float32, x, y *float32)

func axpy(a float32, x, y []float32) {
	if current >= tierNEON {
		axpyNEON(len(x), a, ptr(x), ptr(y))
	} else {
		axpyGeneric(a, x, y)
	}
}

//go:noescape
func scaleNEON(n int, a float32, x *float32)

func scale(a float32, x []float32) {
	if current >= tierNEON {
		scaleNEON(len(x), a, ptr(x))
	} else {
		scaleGeneric(a, x)
	}
}

//go:noescape
func addNEON(n int, dst, x *float32)

func add(dst, x []float32) {
	if current >= tierNEON {
		addNEON(len(dst), ptr(dst), ptr(x))
	} else {
		addGeneric(dst, x)
	}
}

//go:noescape
func mulNEON(n int, dst, x *float32)

func mul(dst, x []float32) {
	if current >= tierNEON {
		mulNEON(len(dst), ptr(dst), ptr(x))
	} else {
		mulGeneric(dst, x)
	}
}

//go:noescape
func mulAddNEON(n int, dst, x, y *float32)

func mulAdd(dst, x, y []float32) {
	if current >= tierNEON {
		mulAddNEON(len(dst), ptr(dst), ptr(x), ptr(y))
	} else {
		mulAddGeneric(dst, x, y)
	}
}

//go:noescape
func sumSquaresNEON(n int, x *float32) float64

func sumSquares(x []float32) float64 {
	if current >= tierNEON {
		return sumSquaresNEON(len(x), ptr(x))
	}
	return sumSquaresGeneric(x)
}

//go:noescape
func maxNEON(n int, x *float32) float32

func maximum(x []float32) float32 {
	if current >= tierNEON {
		return maxNEON(len(x), ptr(x))
	}
	return maximumGeneric(x)
}
