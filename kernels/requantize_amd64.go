//go:build !purego

package kernels

import "unsafe"

//go:noescape
func roundLevelsAVX512(groups, n int, level *uint8, change, inverse, up *float32, from, top float32)

//go:noescape
func roundLevelsAVX2(groups, n int, level *uint8, change, inverse, up *float32, from, top float32)

func roundLevels(level []uint8, change []float32, n int, inverse, up []float32, from float32, top int) {
	l, groups, most := unsafe.SliceData(level), len(inverse), float32(top)
	switch current {
	case tierAVX512, tierAMX:
		roundLevelsAVX512(groups, n, l, ptr(change), ptr(inverse), ptr(up), from, most)
	case tierAVX2:
		roundLevelsAVX2(groups, n, l, ptr(change), ptr(inverse), ptr(up), from, most)
	default:
		roundLevelsGeneric(level, change, n, inverse, up, from, top)
	}
}

//go:noescape
func levelSumsAVX2(groups, n int, level *uint8, sums *[2]int32)

func levelSums(sums [][2]int32, level []uint8, n int) {
	if groupLanes() == 0 {
		levelSumsGeneric(sums, level, n)
		return
	}
	levelSumsAVX2(len(sums), n, unsafe.SliceData(level), unsafe.SliceData(sums))
}

//go:noescape
func thresholdsAVX512(n int, u *float32, state uint64)

//go:noescape
func thresholdsAVX2(n int, u *float32, state uint64)

func thresholds(u []float32, state uint64) (done bool) {
	switch current {
	case tierAVX512, tierAMX:
		thresholdsAVX512(len(u), ptr(u), state)
	case tierAVX2:
		thresholdsAVX2(len(u), ptr(u), state)
	default:
		return false
	}
	return true
}

//go:noescape
func scalePairsAVX2(n int, pair, levels, scale, mean, spread, low *float32)

func scalePairs(p *ScalePairs, n int, l *ScaleLevels, scale, mean, spread, low *SubScales) (done bool) {
	if groupLanes() == 0 {
		return false
	}
	scalePairsAVX2(n, &p.Factor[0], &l.Lo, &scale[0][0], &mean[0][0], &spread[0][0], &low[0][0])
	return true
}

//go:noescape
func scaleFitsAVX2(n int, fits, levels *float32, ends int, end *float32)

func scaleFits(f *ScaleFits, n int, l *ScaleLevels, ends []float32) (done bool) {
	if groupLanes() == 0 {
		return false
	}
	scaleFitsAVX2(n, &f.Want[0][0], &l.Lo, len(ends), ptr(ends))
	return true
}

//go:noescape
func laneMomentsAVX512(n int, old, change, offset *float32, sums *[4][16]float64)

//go:noescape
func laneMomentsAVX2(n int, old, change, offset *float32, sums *[4][16]float64)

func laneMoments(n int, m *LaneMoments) {
	if current >= tierAVX512 {
		laneMomentsAVX512(n, &m.old[0], &m.change[0], &m.Offset[0], (*[4][16]float64)(&m.Sums))
	} else {
		laneMomentsAVX2(n, &m.old[0], &m.change[0], &m.Offset[0], (*[4][16]float64)(&m.Sums))
	}
}

//go:noescape
func changeSumsAVX512(n int, old, change, now *float32, sums *[3][8]float64)

//go:noescape
func changeSumsAVX2(n int, old, change, now *float32, sums *[3][8]float64)

func changeSums(old, change, now []float32, sums *[3][8]float64) (done bool) {
	switch current {
	case tierAVX512, tierAMX:
		changeSumsAVX512(len(old), ptr(old), ptr(change), ptr(now), sums)
	case tierAVX2:
		changeSumsAVX2(len(old), ptr(old), ptr(change), ptr(now), sums)
	default:
		return false
	}
	return true
}

//go:noescape
func combineRowsAVX512(n int, y *float32, rows int, factor, x *float32, stride int)

//go:noescape
func combineRowsAVX2(n int, y *float32, rows int, factor, x *float32, stride int)

func combine(y, factor, x []float32, stride int) (done bool) {
	switch current {
	case tierAVX512, tierAMX:
		combineRowsAVX512(len(y), ptr(y), len(factor), ptr(factor), ptr(x), stride)
	case tierAVX2:
		combineRowsAVX2(len(y), ptr(y), len(factor), ptr(factor), ptr(x), stride)
	default:
		return false
	}
	return true
}
