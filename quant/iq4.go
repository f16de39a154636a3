package quant

import "encoding/binary"

// IQ4_NL and IQ4_XS spread sixteen levels unevenly: a level stands for one of valuesIQ4.
//
// IQ4_NL is 32 weights d·value: the half precision d and 16 bytes of levels, as in Q4_0. IQ4_XS is a super-block of
// eight groups of 32 weights d·(scale-32)·value: the half precision d, 16 bits with the high two bits of each scale, four
// bytes with the low four, then the levels of each group.
const (
	weightsIQ4_NL = 32
	bytesIQ4_NL   = 18
	highIQ4_XS    = 2
	lowIQ4_XS     = 4
	levelsIQ4_XS  = 8
	bytesIQ4_XS   = 136
)

// valuesIQ4 is the same for every level beyond the sixteenth, which no block has.
var valuesIQ4 = [256]float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

// aboveIQ4[127+f] is the first level of valuesIQ4 above f, a whole number from -127 to 112.
var aboveIQ4 = func() (above [240]uint8) {
	for i := range above {
		for valuesIQ4[above[i]] <= float32(i-127) {
			above[i]++
		}
	}
	return above
}()

// levelIQ4 is the level of the value nearest to f; the upper one of two that are as near.
func levelIQ4(f float32) uint8 {
	if f <= valuesIQ4[0] {
		return 0
	}
	if !(f < valuesIQ4[15]) {
		return 15
	}
	above := aboveIQ4[min(uint(f+127), uint(len(aboveIQ4)-1))]
	if f-valuesIQ4[above-1] < valuesIQ4[above]-f {
		return above - 1
	}
	return above
}

func dequantizeIQ4_NL(dst []float32, src []byte) {
	var level [weightsIQ4_NL]uint8
	for len(dst) >= weightsIQ4_NL && len(src) >= bytesIQ4_NL {
		unpackNibbles(&level, (*[16]byte)(src[2:]))
		scaleLevels((*[32]float32)(dst), &level, loadHalf((*[2]byte)(src)), &valuesIQ4)
		dst, src = dst[weightsIQ4_NL:], src[bytesIQ4_NL:]
	}
}

func dequantizeIQ4_XS(dst []float32, src []byte) {
	var level [32]uint8
	for len(dst) >= weightsK && len(src) >= bytesIQ4_XS {
		b := (*[bytesIQ4_XS]byte)(src)
		d := loadHalf((*[2]byte)(b[:]))
		high, low := binary.LittleEndian.Uint16(b[highIQ4_XS:]), binary.LittleEndian.Uint32(b[lowIQ4_XS:])
		for i := range groupsK {
			unpackNibbles(&level, (*[16]byte)(b[levelsIQ4_XS+16*i:]))
			scaleLevels((*[32]float32)(dst[32*i:]), &level, d*less32[low&15|uint32(high&3)<<4], &valuesIQ4)
			high >>= 2
			low >>= 4
		}
		dst, src = dst[weightsK:], src[bytesIQ4_XS:]
	}
}

func quantizeIQ4_NL(dst []byte, src []float32) {
	for len(src) >= weightsIQ4_NL && len(dst) >= bytesIQ4_NL {
		blockIQ4_NL((*[bytesIQ4_NL]byte)(dst), (*[weightsIQ4_NL]float32)(src), nil)
		src, dst = src[weightsIQ4_NL:], dst[bytesIQ4_NL:]
	}
}

func quantizeWeightedIQ4_NL(dst []byte, row, importance []float32) {
	for len(row) >= weightsIQ4_NL && len(dst) >= bytesIQ4_NL {
		blockIQ4_NL((*[bytesIQ4_NL]byte)(dst), (*[weightsIQ4_NL]float32)(row), importance[:weightsIQ4_NL])
		row, importance, dst = row[weightsIQ4_NL:], importance[weightsIQ4_NL:], dst[bytesIQ4_NL:]
	}
}

// blockIQ4_NL quantizes one block; importance may be nil.
func blockIQ4_NL(b *[bytesIQ4_NL]byte, x *[weightsIQ4_NL]float32, importance []float32) {
	var w [weightsIQ4_NL]float32
	var level [weightsIQ4_NL]uint8
	weightsIQ4(&w, x, importance, float32(sumSquares(x[:])*(2./weightsIQ4_NL)))
	d := fitIQ4(x, &w)
	storeHalf((*[2]byte)(b[:]), d)
	inverse := inverseOf(d)
	for i, v := range x {
		level[i] = levelIQ4(float32(inverse * v))
	}
	packNibbles((*[16]byte)(b[2:]), &level)
}

func quantizeIQ4_XS(dst []byte, src []float32) {
	for len(src) >= weightsK && len(dst) >= bytesIQ4_XS {
		blockIQ4_XS((*[bytesIQ4_XS]byte)(dst), (*[weightsK]float32)(src), nil)
		src, dst = src[weightsK:], dst[bytesIQ4_XS:]
	}
}

func quantizeWeightedIQ4_XS(dst []byte, row, importance []float32) {
	for len(row) >= weightsK && len(dst) >= bytesIQ4_XS {
		blockIQ4_XS((*[bytesIQ4_XS]byte)(dst), (*[weightsK]float32)(row), importance[:weightsK])
		row, importance, dst = row[weightsK:], importance[weightsK:], dst[bytesIQ4_XS:]
	}
}

// blockIQ4_XS quantizes one super-block; importance may be nil.
func blockIQ4_XS(b *[bytesIQ4_XS]byte, x *[weightsK]float32, importance []float32) {
	var w [32]float32
	var scale [groupsK]float32
	spread := float32(sumSquares(x[:]) * (2. / weightsK))
	for i := range scale {
		group := (*[32]float32)(x[32*i:])
		if importance == nil {
			weightsIQ4(&w, group, nil, spread)
		} else {
			weightsIQ4(&w, group, importance[32*i:][:32], spread)
		}
		scale[i] = fitIQ4(group, &w)
	}
	d := -peak(scale[:]) / 32
	storeHalf((*[2]byte)(b[:]), d)
	inverse := inverseOf(d)
	var high uint16
	var low uint32
	for i, s := range scale {
		q := nearestClamped(float32(inverse*s), -32, 31)
		var level [32]uint8
		inverseScale := inverseOf(float32(d * float32(q)))
		for j, v := range x[32*i:][:32] {
			level[j] = levelIQ4(float32(inverseScale * v))
		}
		packNibbles((*[16]byte)(b[levelsIQ4_XS+16*i:]), &level)
		high |= uint16(q+32) >> 4 << (2 * i)
		low |= uint32(q+32) & 15 << (4 * i)
	}
	binary.LittleEndian.PutUint16(b[highIQ4_XS:], high)
	binary.LittleEndian.PutUint32(b[lowIQ4_XS:], low)
}

// weightsIQ4 sets w to how much the error of each weight counts.
func weightsIQ4(w, x *[32]float32, importance []float32, spread float32) {
	if importance != nil {
		errorWeights(w[:], x[:], importance, spread)
		return
	}
	for i, v := range x {
		w[i] = float32(v * v)
	}
}

// fitIQ4 finds the scale with which the values come closest to x: of those that bring the weight of largest magnitude to
// a value from -134 to -120.
func fitIQ4(x, w *[32]float32) (scale float32) {
	const tries = 7
	top := peak(x[:])
	if absf(top) < noScale {
		return 0
	}
	qx, qq := sumsIQ4(x, w, 1/(-top/valuesIQ4[0]))
	if qq > 0 {
		scale = qx / qq
	}
	best := scale * qx
	for i := -tries; i <= tries; i++ {
		qx, qq = sumsIQ4(x, w, (float32(i)+valuesIQ4[0])/top)
		if qq > 0 && qx*qx > best*qq {
			scale = qx / qq
			best = scale * qx
		}
	}
	return scale
}

// sumsIQ4 is Σ w·value·x and Σ w·value² with the values that are nearest when x is multiplied by inverse.
func sumsIQ4(x, w *[32]float32, inverse float32) (qx, qq float32) {
	for i, v := range x {
		q := valuesIQ4[levelIQ4(float32(inverse*v))]
		wq := float32(w[i] * q)
		qx += float32(wq * v)
		qq += float32(wq * q)
	}
	return qx, qq
}
