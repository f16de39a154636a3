package quant

// Q5_K is a super-block of eight groups of 32 weights scale·q - minimum: the head (see unpackScales), 32 bytes of which
// bit g of byte j is the highest bit of level j of group g, then 128 bytes with the low four bits as in Q4_K.
const (
	highQ5_K  = headBytesK
	lowQ5_K   = headBytesK + 32
	bytesQ5_K = headBytesK + 32 + 128
)

var (
	searchQ5_K         = affineSearch{top: 31, first: -0.5, step: 0.1, steps: 15}
	searchWeightedQ5_K = affineSearch{top: 31, first: -0.9, step: 0.05, steps: 36}
)

func dequantizeQ5_K(dst []float32, src []byte) {
	for len(dst) >= weightsK && len(src) >= bytesQ5_K {
		h := loadAffineHead((*[headBytesK]byte)(src))
		high := (*[32]byte)(src[highQ5_K:])
		for i := range groupsK / 2 {
			y := (*[64]float32)(dst[64*i:])
			d0, m0 := h.scale[2*i], h.minimum[2*i]
			d1, m1 := h.scale[2*i+1], h.minimum[2*i+1]
			for j, q := range (*[32]byte)(src[lowQ5_K+32*i:]) {
				bits := high[j] >> (2 * i)
				y[j] = float32(d0*fiveBits[(q&15|bits<<4)&31]) - m0
				y[j+32] = float32(d1*fiveBits[(q>>4|bits&2<<3)&31]) - m1
			}
		}
		dst, src = dst[weightsK:], src[bytesQ5_K:]
	}
}

func quantizeQ5_K(dst []byte, src []float32) {
	var level [weightsK]uint8
	for len(src) >= weightsK && len(dst) >= bytesQ5_K {
		searchQ5_K.quantizeAffine((*[headBytesK]byte)(dst), &level, (*[weightsK]float32)(src))
		packQ5_K((*[bytesQ5_K]byte)(dst), &level)
		src, dst = src[weightsK:], dst[bytesQ5_K:]
	}
}

func quantizeWeightedQ5_K(dst []byte, row, importance []float32) {
	var level [weightsK]uint8
	for len(row) >= weightsK && len(dst) >= bytesQ5_K {
		searchWeightedQ5_K.quantizeAffineWeighted((*[headBytesK]byte)(dst), &level, (*[weightsK]float32)(row), importance)
		packQ5_K((*[bytesQ5_K]byte)(dst), &level)
		row, importance, dst = row[weightsK:], importance[weightsK:], dst[bytesQ5_K:]
	}
}

func packQ5_K(b *[bytesQ5_K]byte, level *[weightsK]uint8) {
	high := (*[32]byte)(b[highQ5_K:])
	clear(high[:])
	for i := range groupsK / 2 {
		from, low := (*[64]uint8)(level[64*i:]), (*[32]byte)(b[lowQ5_K+32*i:])
		for j := range low {
			low[j] = from[j]&15 | from[j+32]<<4
			high[j] |= from[j]>>4<<(2*i) | from[j+32]>>4<<(2*i+1)
		}
	}
}
