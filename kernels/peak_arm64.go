//go:build !purego

package kernels

func peakNEON(n int)
func peakBF16NEON(n int)
func peakMatricesNEON(n int)
func peakDotsNEON(n int)

// peakRounds is n rounds of multiply-adds: of 2*peakChains vectors with NEON.
func peakRounds(p Precision, n int) {
	switch {
	case p == Int8 && hasI8MM():
		peakMatricesNEON(n)
	case p == Int8 && hasInt8():
		peakDotsNEON(n)
	case p == BF16 && hasBF16():
		peakBF16NEON(n)
	case current >= tierNEON:
		peakNEON(n)
	default:
		peakGeneric(n)
	}
}

// peakOps is the number of operations in a round.
func peakOps(p Precision) int {
	const round = 2 * peakChains * 2
	switch {
	case p == Int8 && hasI8MM():
		return round * 32
	case p == Int8 && hasInt8(), p == BF16 && hasBF16():
		return round * 16
	case current >= tierNEON:
		return round * 4
	}
	return peakChains * 2
}
