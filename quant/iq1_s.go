package quant

import (
	"encoding/binary"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// IQ1_S is a super-block of groups of 32 weights d·(2·scale+1)·value. It has the half precision d; a byte for each
// eight weights with the index of their point; then 16 bits a group: the high three bits of each of its indexes, three
// bits of scale, and one that is set where the values are lowered.
const (
	pointsIQ1_S = 2
	highIQ1_S   = 34
	bytesIQ1_S  = 50
)

func init() {
	register(gguf.IQ1_S, format{
		weights: weightsK, bytes: bytesIQ1_S, nonFinite: halfScales(weightsK, bytesIQ1_S, 0),
		dequantize: dequantizeIQ1_S, quantizeWeighted: quantizeWeightedIQ1_S,
		layout: scalesOfIQ1_S.layout(),
	})
}

func dequantizeIQ1_S(dst []float32, src []byte) {
	done := kernels.DequantizePoints(kernels.IQ1_S, dst, src, gridIQ1)
	dst, src = dst[done:], src[done/weightsK*bytesIQ1_S:]
	var codes [32]uint8
	points := latticeIQ1.points
	for len(dst) >= weightsK && len(src) >= bytesIQ1_S {
		b := (*[bytesIQ1_S]byte)(src)
		d := loadHalf((*[2]byte)(b[:]))
		for i := range 8 {
			high := uint(binary.LittleEndian.Uint16(b[highIQ1_S+2*i:]))
			shift := shiftMask(high&0x8000 != 0)
			for j := range 4 {
				store8(codes[8*j:], points[uint(b[pointsIQ1_S+4*i+j])|high>>(3*j)&7<<8]|shift)
			}
			scaleCodes((*[32]float32)(dst[32*i:]), &codes, d*unsigned[2*(high>>12&7)+1], valuesIQ1)
		}
		dst, src = dst[weightsK:], src[bytesIQ1_S:]
	}
}

func quantizeWeightedIQ1_S(dst []byte, row, importance []float32) {
	for len(row) >= weightsK && len(dst) >= bytesIQ1_S {
		blockIQ1_S((*[bytesIQ1_S]byte)(dst), (*[weightsK]float32)(row), importance)
		row, importance, dst = row[weightsK:], importance[weightsK:], dst[bytesIQ1_S:]
	}
}

// blockIQ1_S quantizes one super-block.
func blockIQ1_S(b *[bytesIQ1_S]byte, x *[weightsK]float32, importance []float32) {
	clear(b[:])
	spread := float32(2 * sumSquares(x[:]) / weightsK)
	var groups [8]ternaryGroup
	for i := range groups {
		g := &groups[i]
		*g = ternaryGroup{n: 32, x: x[32*i:][:32]}
		kernels.ErrorWeights(g.w[:], g.x, importance[32*i:][:32], spread)
		g.zero = absf(peak(g.x)) < 1e-12
	}
	cutIQ1_S(&groups)
	var scale [8]float32
	var greatest float32
	for i := range groups {
		g := &groups[i]
		s, ok := g.take()
		if !ok {
			continue
		}
		var high uint16
		for j, place := range g.place {
			b[pointsIQ1_S+4*i+j] = byte(place)
			high |= place >> 8 << (3 * j)
		}
		if g.low[0] {
			high |= 0x8000
		}
		binary.LittleEndian.PutUint16(b[highIQ1_S+2*i:], high)
		scale[i] = s
		if !(greatest > s) {
			greatest = s
		}
	}
	packScalesIQ1_S(b, &scale, greatest)
}

// packScalesIQ1_S writes d and the rounded scales.
func packScalesIQ1_S(b *[bytesIQ1_S]byte, scale *[8]float32, greatest float32) {
	if greatest == 0 {
		for i := range scale {
			b[highIQ1_S+2*i+1] &= 0x0f
		}
		return
	}
	d := greatest / 15
	storeHalf((*[2]byte)(b[:]), float32(d*1.125))
	inverse := 1 / d
	for i, s := range scale {
		b[highIQ1_S+2*i+1] |= byte(nearestClamped(0.5*(float32(inverse*s)-1), 0, 7)) << 4
	}
}

// cutIQ1_S cuts the groups.
func cutIQ1_S(groups *[8]ternaryGroup) {
	if haveLanes() {
		cutTogetherInLanes(groups)
		return
	}
	for i := range groups {
		if g := &groups[i]; !g.zero {
			g.cutIQ1_S()
		}
	}
}

// cutIQ1_S finds the cut of the sorted weights into three runs with the least error. The group may be raised or
// lowered.
func (g *ternaryGroup) cutIQ1_S() {
	g.sort()
	var sumX, sumW [maxGroup + 1]float32 // of the first weights in order
	for i, at := range g.order[:g.n] {
		sumX[i+1] = sumX[i] + float32(g.w[at]*g.x[at])
		sumW[i+1] = sumW[i] + g.w[at]
	}
	best := &g.best
	best.score = -greatestFloat
	for i := range g.n + 1 {
		x0, w0 := sumX[i], sumW[i]
		for j := i; j <= g.n; j++ {
			x1, x2 := sumX[j]-x0, sumX[g.n]-sumX[j]
			w1, w2 := sumW[j]-w0, sumW[g.n]-sumW[j]
			best.offer(sumOfThree(x0, x1, x2, &raised), squaresOfThree(w0, w1, w2, &raised), i, j, false, false)
			best.offer(sumOfThree(x0, x1, x2, &lowered), squaresOfThree(w0, w1, w2, &lowered), i, j, true, true)
		}
	}
}

// sumOfThree is Σ q·x of three values.
func sumOfThree(x0, x1, x2 float32, value *[3]float32) float32 {
	return float32(x0*value[0]) + float32(x1*value[1]) + float32(x2*value[2])
}

// squaresOfThree is Σ q²·w of three values.
func squaresOfThree(w0, w1, w2 float32, value *[3]float32) float32 {
	return float32(float32(w0*value[0])*value[0]) + float32(float32(w1*value[1])*value[1]) +
		float32(float32(w2*value[2])*value[2])
}

var scalesOfIQ1_S = subScales{
	subScaleLevels: subScaleLevels{0, 7, 2, 1, 0.5}, n: 8,
	load: func(b []byte) (r subScaleCodes) {
		r.d = loadHalf((*[2]byte)(b))
		for i := range 8 {
			r.i[i] = int16(b[highIQ1_S+2*i+1] >> 4 & 7)
		}
		return r
	},
	store: func(b []byte, r subScaleCodes) {
		storeHalf((*[2]byte)(b), r.d)
		for i := range 8 {
			at := highIQ1_S + 2*i + 1
			b[at] = b[at]&0x8f | uint8(r.i[i])<<4
		}
	},
}
