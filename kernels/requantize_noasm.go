//go:build !amd64 || purego

package kernels

func roundLevels(level []uint8, change []float32, n int, inverse, up []float32, from float32, top int) {
	roundLevelsGeneric(level, change, n, inverse, up, from, top)
}

func levelSums(sums [][2]int32, level []uint8, n int) { levelSumsGeneric(sums, level, n) }

func thresholds(u []float32, state uint64) (done bool) { return false }

func scalePairs(p *ScalePairs, n int, l *ScaleLevels, scale, mean, spread, low *SubScales) (done bool) {
	return false
}

func scaleFits(f *ScaleFits, n int, l *ScaleLevels, ends []float32) (done bool) { return false }

func changeSums(old, change, now []float32, sums *[3][8]float64) (done bool) { return false }

func combine(y, factor, x []float32, stride int) (done bool) { return false }
