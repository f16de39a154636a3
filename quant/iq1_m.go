package quant

import (
	"encoding/binary"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// IQ1_M is a super-block of groups of 16 weights d·(2·scale+1)·value. It has a byte for each eight weights with the
// index of their point; four bits for each with the high three bits of the index and one that is set where the values
// are lowered; then four numbers of 16 bits with four scales of three bits each. Their highest four bits together are
// the half precision d.
const (
	highIQ1_M   = 32
	scalesIQ1_M = 48
	bytesIQ1_M  = 56
)

func init() {
	register(gguf.IQ1_M, format{
		weights: weightsK, bytes: bytesIQ1_M, nonFinite: nonFiniteIQ1_M,
		dequantize: dequantizeIQ1_M, quantize: quantizeIQ1_M, quantizeWeighted: quantizeWeightedIQ1_M,
		layout: scalesOfIQ1_M.layout(),
	})
}

// scaleIQ1_M is d.
func scaleIQ1_M(b *[bytesIQ1_M]byte) float32 {
	var h uint16
	for i := range 4 {
		h |= uint16(b[scalesIQ1_M+2*i+1]) >> 4 << (4 * i)
	}
	return halfToFloat(h)
}

// putScaleIQ1_M sets d, of which the bits are clear.
func putScaleIQ1_M(b *[bytesIQ1_M]byte, d float32) {
	h := floatToHalf(d)
	for i := range 4 {
		b[scalesIQ1_M+2*i+1] |= byte(h>>(4*i)) << 4
	}
}

func dequantizeIQ1_M(dst []float32, src []byte) {
	done := kernels.DequantizePoints(kernels.IQ1_M, dst, src, gridIQ1)
	dst, src = dst[done:], src[done/weightsK*bytesIQ1_M:]
	var codes [16]uint8
	points := latticeIQ1.points
	for len(dst) >= weightsK && len(src) >= bytesIQ1_M {
		b := (*[bytesIQ1_M]byte)(src)
		d := scaleIQ1_M(b)
		for i := range 16 {
			high := uint(b[highIQ1_M+i])
			store8(codes[:], points[uint(b[2*i])|high&7<<8]|shiftMask(high&8 != 0))
			store8(codes[8:], points[uint(b[2*i+1])|high>>4&7<<8]|shiftMask(high&0x80 != 0))
			scale := binary.LittleEndian.Uint16(b[scalesIQ1_M+i/4*2:]) >> (3 * (i % 4)) & 7
			scaleCodes16((*[16]float32)(dst[16*i:]), &codes, d*unsigned[2*scale+1], valuesIQ1)
		}
		dst, src = dst[weightsK:], src[bytesIQ1_M:]
	}
}

func quantizeIQ1_M(dst []byte, src []float32) {
	for len(src) >= weightsK && len(dst) >= bytesIQ1_M {
		blockIQ1_M((*[bytesIQ1_M]byte)(dst), (*[weightsK]float32)(src), nil)
		src, dst = src[weightsK:], dst[bytesIQ1_M:]
	}
}

func quantizeWeightedIQ1_M(dst []byte, row, importance []float32) {
	for len(row) >= weightsK && len(dst) >= bytesIQ1_M {
		blockIQ1_M((*[bytesIQ1_M]byte)(dst), (*[weightsK]float32)(row), importance)
		row, importance, dst = row[weightsK:], importance[weightsK:], dst[bytesIQ1_M:]
	}
}

// blockIQ1_M quantizes one super-block; importance may be nil.
func blockIQ1_M(b *[bytesIQ1_M]byte, x *[weightsK]float32, importance []float32) {
	clear(b[:])
	spread := float32(2 * sumSquares(x[:]) / weightsK)
	var groups [16]ternaryGroup
	var scale [16]float32
	var greatest float32
	for i := range groups {
		g := &groups[i]
		*g = ternaryGroup{n: 16, x: x[16*i:][:16]}
		if importance != nil {
			kernels.ErrorWeights(g.w[:16], g.x, importance[16*i:][:16], spread)
		} else {
			squares(g.w[:16], g.x, 0)
		}
		g.zero = absf(peak(g.x)) < 1e-7
	}
	cutIQ1_M(&groups)
	for i := range groups {
		g := &groups[i]
		s, ok := g.take()
		if !ok {
			continue
		}
		b[2*i], b[2*i+1] = byte(g.place[0]), byte(g.place[1])
		b[highIQ1_M+i] = byte(g.place[0]>>8 | g.place[1]>>8<<4)
		scale[i] = s
		if !(greatest > s) {
			greatest = s
		}
	}
	if greatest != 0 {
		packScalesIQ1_M(b, &groups, &scale, greatest)
	}
}

// packScalesIQ1_M writes the rounded scales and the d that fits them.
func packScalesIQ1_M(b *[bytesIQ1_M]byte, groups *[16]ternaryGroup, scale *[16]float32, greatest float32) {
	d := greatest / 15
	inverse := 1 / d
	var packed [4]uint16
	var qx, qq float32
	for i := range groups {
		g := &groups[i]
		l := nearestClamped(0.5*(float32(inverse*scale[i])-1), 0, 7)
		packed[i/4] |= uint16(l) << (3 * (i % 4))
		if g.low[0] {
			b[highIQ1_M+i] |= 0x08
		}
		if g.low[1] {
			b[highIQ1_M+i] |= 0x80
		}
		qx, qq = g.addSums(qx, qq, float32(2*l+1))
	}
	if qq > 0 {
		d = qx / qq
	}
	for i, v := range packed {
		binary.LittleEndian.PutUint16(b[scalesIQ1_M+2*i:], v)
	}
	putScaleIQ1_M(b, float32(d*1.1125))
}

// A halfGroup is eight of the sixteen weights of a group. Each half is raised or lowered independently of the other.
// The cuts are in the order of all sixteen.
type halfGroup struct {
	x, w [17]float32 // Σ w·x and Σ w of those of the half among the first weights in order
}

// halves sums up the halves of a group that is sorted.
func (g *ternaryGroup) halves() (half [2]halfGroup) {
	for i, at := range g.order[:16] {
		for h := range half {
			half[h].x[i+1], half[h].w[i+1] = half[h].x[i], half[h].w[i]
		}
		h := &half[at/8]
		h.x[i+1] += float32(g.w[at] * g.x[at])
		h.w[i+1] += g.w[at]
	}
	return half
}

// A halfCut is Σ q·w·x and Σ q²·w of a half, raised and lowered, when the weights up to a first cut have code 0, those
// up to a second one code 1, and the others code 2.
type halfCut struct{ raisedX, raisedW, loweredX, loweredW float32 }

// first computes the part of the sums that the first cut determines: all but what the second one takes away. The value
// of a code is 1 more than that of the one before, so a cut takes away the sum of what lies below.
func (h *halfGroup) first(i int) halfCut {
	return halfCut{
		raisedX: float32(h.x[16] * raised[2]),
		raisedW: float32((squareIQ1(&raised, 0)-squareIQ1(&raised, 1))*h.w[i]) +
			float32(float32(h.w[16]*raised[2])*raised[2]),
		loweredX: float32(h.x[16] * lowered[2]),
		loweredW: float32((squareIQ1(&lowered, 0)-squareIQ1(&lowered, 1))*h.w[i]) +
			float32(float32(h.w[16]*lowered[2])*lowered[2]),
	}
}

func squareIQ1(value *[3]float32, l int) float32 { return float32(value[l] * value[l]) }

// second completes the sums of first.
func (h *halfGroup) second(c halfCut, i, j int, raisedStep, loweredStep float32) halfCut {
	below := h.x[j] + h.x[i]
	return halfCut{
		raisedX:  c.raisedX - below,
		raisedW:  c.raisedW + float32(raisedStep*h.w[j]),
		loweredX: c.loweredX - below,
		loweredW: c.loweredW + float32(loweredStep*h.w[j]),
	}
}

// cutIQ1_M cuts the groups.
func cutIQ1_M(groups *[16]ternaryGroup) {
	if haveLanes() {
		cutApartInLanes((*[8]ternaryGroup)(groups[:8]))
		cutApartInLanes((*[8]ternaryGroup)(groups[8:]))
		return
	}
	for i := range groups {
		if g := &groups[i]; !g.zero {
			g.cutIQ1_M()
		}
	}
}

// cutIQ1_M finds the cut of the sorted weights into three runs with the least error. Each half of the group may be
// raised or lowered.
func (g *ternaryGroup) cutIQ1_M() {
	g.sort()
	half := g.halves()
	raisedStep := squareIQ1(&raised, 1) - squareIQ1(&raised, 2)
	loweredStep := squareIQ1(&lowered, 1) - squareIQ1(&lowered, 2)
	best := &g.best
	best.score = -greatestFloat
	for i := range 17 {
		first0, first1 := half[0].first(i), half[1].first(i)
		for j := i; j < 17; j++ {
			a := half[0].second(first0, i, j, raisedStep, loweredStep)
			b := half[1].second(first1, i, j, raisedStep, loweredStep)
			best.offer(a.raisedX+b.raisedX, a.raisedW+b.raisedW, i, j, false, false)
			best.offer(a.raisedX+b.loweredX, a.raisedW+b.loweredW, i, j, false, true)
			best.offer(a.loweredX+b.raisedX, a.loweredW+b.raisedW, i, j, true, false)
			best.offer(a.loweredX+b.loweredX, a.loweredW+b.loweredW, i, j, true, true)
		}
	}
}

// nonFiniteIQ1_M is halfScales for the scattered d of the format.
func nonFiniteIQ1_M(data []byte) int {
	for block := 0; (block+1)*bytesIQ1_M <= len(data); block++ {
		d := scaleIQ1_M((*[bytesIQ1_M]byte)(data[block*bytesIQ1_M:]))
		if d-d != 0 {
			return block * weightsK
		}
	}
	return -1
}

var scalesOfIQ1_M = subScales{
	subScaleLevels: subScaleLevels{0, 7, 2, 1, 0.5}, n: 16,
	load: func(b []byte) (r subScaleCodes) {
		r.d = scaleIQ1_M((*[bytesIQ1_M]byte)(b))
		for i := range 16 {
			r.i[i] = int16(binary.LittleEndian.Uint16(b[scalesIQ1_M+i/4*2:]) >> (3 * (i % 4)) & 7)
		}
		return r
	},
	store: func(b []byte, r subScaleCodes) {
		var packed [4]uint16
		for i, s := range r.i {
			packed[i/4] |= uint16(s) << (3 * (i % 4))
		}
		for i, v := range packed {
			binary.LittleEndian.PutUint16(b[scalesIQ1_M+2*i:], v)
		}
		putScaleIQ1_M((*[bytesIQ1_M]byte)(b), r.d)
	},
}
