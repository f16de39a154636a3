//go:build !purego

package kernels

func peakAVX512(n int)
func peakBF16AVX512(n int)
func peakInt8AVX512(n int)
func peakAVX2(n int)

// peakRounds is n rounds of peakChains multiply-adds of vectors.
func peakRounds(p Precision, n int) {
	switch {
	case p == Int8 && hasVNNI():
		peakInt8AVX512(n)
	case p == BF16 && hasBF16():
		peakBF16AVX512(n)
	case current == tierAVX512:
		peakAVX512(n)
	case current == tierAVX2:
		peakAVX2(n)
	default:
		peakGeneric(n)
	}
}

// peakOps is the number of operations in a round.
func peakOps(p Precision) int {
	switch {
	case p == Int8 && hasVNNI():
		return peakChains * 2 * 64
	case p == BF16 && hasBF16():
		return peakChains * 2 * 32
	case current == tierAVX512:
		return peakChains * 2 * 16
	case current == tierAVX2:
		return peakChains * 2 * 8
	}
	return peakChains * 2
}
