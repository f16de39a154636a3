package quant

import "encoding/binary"

// IQ1_M is a super-block of groups of 16 weights d·(2·scale+1)·value: a byte for each eight weights with the place of their
// point, four bits for each with the high three bits of the place and one that is set where the levels are lowered,
// then four numbers of 16 bits with four scales of three bits each. Their highest four bits together are the half
// precision d.
const (
	highIQ1_M   = 32
	scalesIQ1_M = 48
	bytesIQ1_M  = 56
)

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
	var level [16]uint8
	points := latticeIQ1.points
	for len(dst) >= weightsK && len(src) >= bytesIQ1_M {
		b := (*[bytesIQ1_M]byte)(src)
		d := scaleIQ1_M(b)
		for i := range 16 {
			high := uint(b[highIQ1_M+i])
			store8(level[:], points[uint(b[2*i])|high&7<<8]|shiftMask(high&8 != 0))
			store8(level[8:], points[uint(b[2*i+1])|high>>4&7<<8]|shiftMask(high&0x80 != 0))
			scale := binary.LittleEndian.Uint16(b[scalesIQ1_M+i/4*2:]) >> (3 * (i % 4)) & 7
			scaleLevels16((*[16]float32)(dst[16*i:]), &level, d*unsigned[2*scale+1], valuesIQ1)
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
			errorWeights(g.w[:16], g.x, importance[16*i:], spread)
		} else {
			squares(g.w[:16], g.x, 0)
		}
		s, ok := g.fitIQ1_M()
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

// packScalesIQ1_M makes the rounded scales and the d that suits them.
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

// A halfGroup is eight of the sixteen weights of a group. Whether they are raised or lowered is chosen apart from the other
// half; the cuts are in the order of all sixteen.
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

// cut is Σ q·w·x and Σ q²·w when the first i weights in order have level 0, those from i to j level 1, the others level 2.
// One level is 1 more than the one before, so that the first sum is that of level 2 throughout less what lies below
// either cut.
func (h *halfGroup) cut(i, j int, value *[3]float32) (qx, qq float32) {
	square := func(l int) float32 { return float32(value[l] * value[l]) }
	qx = float32(h.x[16]*value[2]) - (h.x[j] + h.x[i])
	qq = float32((square(0)-square(1))*h.w[i]) + float32(float32(h.w[16]*value[2])*value[2])
	qq += float32((square(1) - square(2)) * h.w[j])
	return qx, qq
}

// fitIQ1_M finds the scale and the points: of all ways to cut the sorted weights into three, with the levels of each half
// raised and lowered, the one with the least error, brought to the lattice. ok is false where the group is zero.
func (g *ternaryGroup) fitIQ1_M() (scale float32, ok bool) {
	if absf(peak(g.x)) < 1e-7 {
		return 0, false
	}
	g.sort()
	half := g.halves()
	best, first, second := float32(-greatestFloat), -1, -1
	var low [2]bool
	for i := 0; i <= 16; i++ {
		for j := i; j <= 16; j++ {
			var qx, qq [2][2]float32 // (half, lowered)
			for h := range half {
				qx[h][0], qq[h][0] = half[h].cut(i, j, &raised)
				qx[h][1], qq[h][1] = half[h].cut(i, j, &lowered)
			}
			for k := range 4 {
				x, q := qx[0][k/2]+qx[1][k%2], qq[0][k/2]+qq[1][k%2]
				if q > 0 && x*x > best*q {
					scale = x / q
					best, first, second, low = scale*x, i, j, [2]bool{k/2 == 1, k%2 == 1}
				}
			}
		}
	}
	if first < 0 {
		return 0, false
	}
	g.split(first, second)
	g.low = [4]bool{low[0], low[1]}
	if scale < 0 {
		scale = -scale
		g.turn()
	}
	return g.snap(scale), true
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
