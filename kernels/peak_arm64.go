//go:build !purego

package kernels

func peakNEON(n int)

// peakRounds is n rounds of multiply-adds: of 2*peakChains vectors with NEON.
func peakRounds(_ Precision, n int) {
	if current == tierNEON {
		peakNEON(n)
		return
	}
	peakGeneric(n)
}

// peakOps is the number of operations in a round.
func peakOps(Precision) int {
	if current == tierNEON {
		return 2 * peakChains * 2 * 4
	}
	return peakChains * 2
}
