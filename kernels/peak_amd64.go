//go:build !purego

package kernels

func peakAVX512(n int)
func peakBF16AVX512(n int)
func peakInt8AVX512(n int)
func peakAVX2(n int)
func peakInt8AMX(n int)
func peakBF16AMX(n int)

// peakTileOps is the number of operations in a round of six products of tiles of bytes.
const peakTileOps = 6 * 2 * 16 * 16 * 64

// peakRounds is n rounds of peakChains multiply-adds of vectors, or of six products of tiles.
func peakRounds(p Precision, n int) {
	switch {
	case p == Int8 && hasTiles():
		peakInt8AMX(n)
	case p == BF16 && hasTiles():
		peakBF16AMX(n)
	case p == Int8 && hasVNNI():
		peakInt8AVX512(n)
	case p == BF16 && hasBF16():
		peakBF16AVX512(n)
	case current >= tierAVX512:
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
	case p == Int8 && hasTiles():
		return peakTileOps
	case p == BF16 && hasTiles():
		return peakTileOps / 2
	case p == Int8 && hasVNNI():
		return peakChains * 2 * 64
	case p == BF16 && hasBF16():
		return peakChains * 2 * 32
	case current >= tierAVX512:
		return peakChains * 2 * 16
	case current == tierAVX2:
		return peakChains * 2 * 8
	}
	return peakChains * 2
}
