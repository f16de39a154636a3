package quant

import "encoding/binary"

// Q4_K and Q5_K are super-blocks of 256 weights in eight groups of 32: weight = d·scale·q - dmin·minimum. They begin
// with the same sixteen bytes, the head: the half precision d and dmin, then eight scales and minima of six bits in
// twelve bytes.
const (
	weightsK   = 256
	groupsK    = 8
	groupLenK  = 32
	headBytesK = 16
	topScaleK  = 63
)

// unpackScales spreads the six-bit scales and minima of a head to eight bytes each, the first group lowest.
//
// The first four scales are the low bits of bytes 0 to 3, the first four minima those of bytes 4 to 7. The others have
// their low four bits in bytes 8 to 11 (minimum above scale) and their high two bits atop those of the first four.
func unpackScales(head *[headBytesK]byte) (scales, minima uint64) {
	a := binary.LittleEndian.Uint32(head[4:])
	b := binary.LittleEndian.Uint32(head[8:])
	c := binary.LittleEndian.Uint32(head[12:])
	const six, four, two = 0x3f3f3f3f, 0x0f0f0f0f, 0x30303030
	scales = uint64(a&six) | uint64(c&four|a>>2&two)<<32
	minima = uint64(b&six) | uint64(c>>4&four|b>>2&two)<<32
	return scales, minima
}

// packScales is the inverse of unpackScales.
func packScales(head *[headBytesK]byte, scale, minimum *[groupsK]uint8) {
	packed := (*[12]byte)(head[4:])
	for i := range 4 {
		packed[i] = scale[i] | scale[i+4]>>4<<6
		packed[i+4] = minimum[i] | minimum[i+4]>>4<<6
		packed[i+8] = scale[i+4]&15 | minimum[i+4]<<4
	}
}

// An affineHead is what a head says: the scale and the minimum of each group.
type affineHead struct{ scale, minimum [groupsK]float32 }

func loadAffineHead(head *[headBytesK]byte) (h affineHead) {
	d, dmin := loadHalf((*[2]byte)(head[:])), loadHalf((*[2]byte)(head[2:]))
	scales, minima := unpackScales(head)
	for i := range groupsK {
		h.scale[i] = float32(d * float32(uint8(scales)))
		h.minimum[i] = float32(dmin * float32(uint8(minima)))
		scales >>= 8
		minima >>= 8
	}
	return h
}

// writeHead makes a head and returns what it says.
func writeHead(head *[headBytesK]byte, d, dmin float32, scales, minima *[groupsK]uint8) affineHead {
	storeHead(head, d, dmin, scales, minima)
	return loadAffineHead(head)
}

// storeHead makes a head.
func storeHead(head *[headBytesK]byte, d, dmin float32, scales, minima *[groupsK]uint8) {
	storeHalf((*[2]byte)(head[:]), d)
	storeHalf((*[2]byte)(head[2:]), dmin)
	packScales(head, scales, minima)
}

// scaleAffine dequantizes the codes of a super-block.
func scaleAffine(y *[weightsK]float32, codes *[weightsK]uint8, head *[headBytesK]byte) {
	h := loadAffineHead(head)
	for i := range groupsK {
		at := groupLenK * i
		scaleCodesAdd((*[groupLenK]float32)(y[at:]), (*[groupLenK]uint8)(codes[at:]), h.scale[i], -h.minimum[i])
	}
}

// quantizeAffine finds head and codes of a super-block.
func (s *affineSearch) quantizeAffine(head *[headBytesK]byte, codes *[weightsK]uint8, x *[weightsK]float32) {
	var w [groupLenK]float32
	var scale, minimum [groupsK]float32
	for i := range groupsK {
		group := x[groupLenK*i:][:groupLenK]
		mean := sqrtf(sumSquares(group) / groupLenK)
		for j, v := range group {
			w[j] = mean + absf(v)
		}
		scale[i], minimum[i] = s.fit(codes[groupLenK*i:][:groupLenK], group, w[:])
	}
	var scales, minima [groupsK]uint8
	d := spreadScales(scales[:], scale[:], topScaleK)
	dmin := spreadScales(minima[:], minimum[:], topScaleK)
	s.finishAffine(head, codes, x, d, dmin, &scales, &minima)
}

// quantizeAffineWeighted finds head and codes of a super-block with the given importance of the columns.
func (s *affineSearch) quantizeAffineWeighted(
	head *[headBytesK]byte, codes *[weightsK]uint8, x *[weightsK]float32, importance []float32,
) {
	var w [groupLenK]float32
	var scale, minimum, total [groupsK]float32
	spread := float32(2 * sumSquares(x[:]) / weightsK)
	for i := range groupsK {
		group := x[groupLenK*i:][:groupLenK]
		errorWeights(w[:], group, importance[groupLenK*i:], spread)
		total[i] = sumOf(w[:])
		scale[i], minimum[i] = s.fit(codes[groupLenK*i:][:groupLenK], group, w[:])
	}
	var scales, minima [groupsK]uint8
	d := fitPositive(scales[:], scale[:], total[:], topScaleK)
	dmin := fitPositive(minima[:], minimum[:], total[:], topScaleK)
	s.finishAffine(head, codes, x, d, dmin, &scales, &minima)
}

// finishAffineLanes is the end of quantizeAffine for groups, from number at, that were searched in lanes. It returns
// the codes.
func finishAffineLanes(head *[headBytesK]byte, x *[weightsK]float32, l *laneSearch, at int) *[weightsK]uint8 {
	var scales, minima [groupsK]uint8
	minimum := l.minima()
	d := spreadScales(scales[:], l.scale[at:][:groupsK], topScaleK)
	dmin := spreadScales(minima[:], minimum[at:][:groupsK], topScaleK)
	h := writeHead(head, d, dmin, &scales, &minima)
	return l.round(x, h.scale[:], h.minimum[:], 0, int(l.affine.top), at)
}

// finishAffineLanesWeighted is the end of quantizeAffineWeighted.
func finishAffineLanesWeighted(head *[headBytesK]byte, x *[weightsK]float32, l *laneSearch, at int) *[weightsK]uint8 {
	i := at / groupsK * 2
	h := writeHead(head, l.factor[i], l.factor[i+1], (*[groupsK]uint8)(l.steps[i][:]), (*[groupsK]uint8)(l.steps[i+1][:]))
	return l.round(x, h.scale[:], h.minimum[:], 0, int(l.affine.top), at)
}

// finishAffine writes the head and quantizes the weights again with the scales that it holds. A group whose scale was
// rounded to 0 keeps the codes of its search.
func (s *affineSearch) finishAffine(
	head *[headBytesK]byte, codes *[weightsK]uint8, x *[weightsK]float32, d, dmin float32, scales, minima *[groupsK]uint8,
) {
	h := writeHead(head, d, dmin, scales, minima)
	for i := range groupsK {
		if h.scale[i] == 0 {
			continue
		}
		group, rounded := x[groupLenK*i:][:groupLenK], codes[groupLenK*i:][:groupLenK]
		for j, v := range group {
			rounded[j] = uint8(nearestClamped((v+h.minimum[i])/h.scale[i], 0, int(s.top)))
		}
	}
}

// layoutOfHead is the layout of Q4_K and Q5_K.
func layoutOfHead() *layout {
	g := scalesOfHead.layout()
	g.load = func(b []byte, to *blockScales) {
		h := loadAffineHead((*[headBytesK]byte)(b))
		for i := range groupsK {
			to.scale[i], to.offset[i] = h.scale[i], -h.minimum[i]
		}
	}
	return g
}

// scalesOfHead are those of Q4_K and Q5_K.
var scalesOfHead = affineScales{
	subScaleLevels: subScaleLevels{0, topScaleK, 1, 0, 1}, n: groupsK,
	load: func(b []byte) (scale, minimum subScaleCodes) {
		head := (*[headBytesK]byte)(b)
		scale.d, minimum.d = loadHalf((*[2]byte)(head[:])), loadHalf((*[2]byte)(head[2:]))
		scales, minima := unpackScales(head)
		for i := range groupsK {
			scale.i[i], minimum.i[i] = int16(uint8(scales>>(8*i))), int16(uint8(minima>>(8*i)))
		}
		return scale, minimum
	},
	store: func(b []byte, scale, minimum subScaleCodes) {
		var scales, minima [groupsK]uint8
		for i := range groupsK {
			scales[i], minima[i] = uint8(scale.i[i]), uint8(minimum.i[i])
		}
		storeHead((*[headBytesK]byte)(b), scale.d, minimum.d, &scales, &minima)
	},
}
