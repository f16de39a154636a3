package quant

// Q6_K is a super-block of 256 weights d·scale·(q-32) in sixteen groups of 16, laid out in two halves of 128: the low
// four bits of the levels (64 bytes a half: byte i holds weights i and i+64), their high two bits (32 bytes a half:
// byte i holds weights i, i+32, i+64 and i+96 from the lowest bits up), sixteen signed scales, and the half precision d.
const (
	highQ6_K   = 128
	scalesQ6_K = 192
	dQ6_K      = 208
	bytesQ6_K  = 210
)

func dequantizeQ6_K(dst []float32, src []byte) {
	for len(dst) >= weightsK && len(src) >= bytesQ6_K {
		d := loadHalf((*[2]byte)(src[dQ6_K:]))
		scales := (*[16]byte)(src[scalesQ6_K:])
		for half := range 2 {
			for part := range 2 {
				at := 16 * part
				y := (*[112]float32)(dst[128*half+at:])
				low := (*[48]byte)(src[64*half+at:])
				s := (*[7]byte)(scales[8*half+part:])
				d0, d1, d2, d3 := d*signedBytes[s[0]], d*signedBytes[s[2]], d*signedBytes[s[4]], d*signedBytes[s[6]]
				for i, h := range (*[16]byte)(src[highQ6_K+32*half+at:]) {
					a, b := low[i], low[i+32]
					y[i] = d0 * signedSix[(a&15|h<<4)&63]
					y[i+32] = d1 * signedSix[(b&15|h>>2<<4)&63]
					y[i+64] = d2 * signedSix[(a>>4|h&0x30)&63]
					y[i+96] = d3 * signedSix[(b>>4|h>>6<<4)&63]
				}
			}
		}
		dst, src = dst[weightsK:], src[bytesQ6_K:]
	}
}

func quantizeQ6_K(dst []byte, src []float32) {
	var w [16]float32
	for len(src) >= weightsK && len(dst) >= bytesQ6_K {
		var level [weightsK]uint8
		var scale [16]float32
		x := (*[weightsK]float32)(src)
		for i := range scale {
			group := x[16*i:][:16]
			for j, v := range group {
				w[j] = float32(v * v)
			}
			scale[i] = fitSymmetric(level[16*i:][:16], group, w[:], 32)
		}
		finishQ6_K((*[bytesQ6_K]byte)(dst), &level, x, &scale)
		src, dst = src[weightsK:], dst[bytesQ6_K:]
	}
}

func quantizeWeightedQ6_K(dst []byte, row, importance []float32) {
	for len(row) >= weightsK && len(dst) >= bytesQ6_K {
		var level [weightsK]uint8
		var scale [16]float32
		x := (*[weightsK]float32)(row)
		for i := range scale {
			scale[i] = fitSymmetric(level[16*i:][:16], x[16*i:][:16], importance[16*i:][:16], 32)
		}
		finishQ6_K((*[bytesQ6_K]byte)(dst), &level, x, &scale)
		row, importance, dst = row[weightsK:], importance[weightsK:], dst[bytesQ6_K:]
	}
}

// finishQ6_K rounds the scales of the groups, and the weights once more to the rounded scales. A group of which the
// scale came to nothing keeps the levels of its search.
func finishQ6_K(b *[bytesQ6_K]byte, level *[weightsK]uint8, x *[weightsK]float32, scale *[16]float32) {
	top := peak(scale[:])
	if absf(top) < noScale {
		clear(b[:])
		return
	}
	inverse := -128 / top
	d := storeHalf((*[2]byte)(b[dQ6_K:]), 1/inverse)
	for i, s := range scale {
		q := int8(min(nearest(inverse*s), 127))
		b[scalesQ6_K+i] = byte(q)
		step := d * float32(q)
		if step == 0 {
			continue
		}
		rounded := level[16*i:][:16]
		for j, v := range x[16*i:][:16] {
			rounded[j] = uint8(nearestClamped(v/step, -32, 31) + 32)
		}
	}
	packQ6_K(b, level)
}

func packQ6_K(b *[bytesQ6_K]byte, level *[weightsK]uint8) {
	for half := range 2 {
		l := (*[128]uint8)(level[128*half:])
		low, high := (*[64]byte)(b[64*half:]), (*[32]byte)(b[highQ6_K+32*half:])
		for i := range high {
			low[i] = l[i]&15 | l[i+64]<<4
			low[i+32] = l[i+32]&15 | l[i+96]<<4
			high[i] = l[i]>>4 | l[i+32]>>4<<2 | l[i+64]>>4<<4 | l[i+96]>>4<<6
		}
	}
}
