//go:build !purego

package kernels

func peakAVX512(n int)
func peakAVX2(n int)

// peakRounds is n rounds of peakChains multiply-adds of vectors.
func peakRounds(n int) {
	switch current {
	case tierAVX512:
		peakAVX512(n)
	case tierAVX2:
		peakAVX2(n)
	default:
		peakGeneric(n)
	}
}

// peakOps is the number of operations in a round.
func peakOps() int {
	switch current {
	case tierAVX512:
		return peakChains * 2 * 16
	case tierAVX2:
		return peakChains * 2 * 8
	}
	return peakChains * 2
}
