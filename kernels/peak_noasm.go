//go:build (!amd64 && !arm64) || purego

package kernels

func peakRounds(n int) { peakGeneric(n) }

func peakOps() int { return peakChains * 2 }
