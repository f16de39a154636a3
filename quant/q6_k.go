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
	var level [weightsK]uint8
	for len(dst) >= weightsK && len(src) >= bytesQ6_K {
		b := (*[bytesQ6_K]byte)(src)
		unpackQ6_K(&level, b)
		d := loadHalf((*[2]byte)(b[dQ6_K:]))
		for i, s := range b[scalesQ6_K:dQ6_K] {
			scaleLevels16((*[16]float32)(dst[16*i:]), (*[16]byte)(level[16*i:]), d*signedByte[s], &less32)
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

// unpackQ6_K is the inverse of packQ6_K.
func unpackQ6_K(level *[weightsK]uint8, b *[bytesQ6_K]byte) {
	for half := range 2 {
		l := (*[128]uint8)(level[128*half:])
		low, high := (*[64]byte)(b[64*half:]), (*[32]byte)(b[highQ6_K+32*half:])
		for i := 0; i < 32; i += 8 {
			v, w, h := load8(low[i:]), load8(low[i+32:]), load8(high[i:])
			store8(l[i:], v&eachLow4|h&eachLow2<<4)
			store8(l[i+32:], w&eachLow4|h>>2&eachLow2<<4)
			store8(l[i+64:], v>>4&eachLow4|h>>4&eachLow2<<4)
			store8(l[i+96:], w>>4&eachLow4|h>>6&eachLow2<<4)
		}
	}
}
