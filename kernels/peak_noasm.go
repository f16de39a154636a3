//go:build (!amd64 && !arm64) || purego

package kernels

func peakRounds(_ Precision, n int) { peakGeneric(n) }

func peakOps(Precision) int { return peakChains * 2 }
