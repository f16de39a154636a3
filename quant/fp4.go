package quant

import "math"

// MXFP4 and NVFP4 have weights of one sign bit, two bits of exponent and one of mantissa (E2M1), counted in halves.
//
// MXFP4 is 32 of them under a shared exponent: a byte e for the scale 2^(e-128), then 16 bytes of levels as in Q4_0.
// NVFP4 is 64 in four groups of 16: a byte a group for its scale, an unsigned E4M3 number, then eight bytes a group of
// which byte i holds levels i and i+8.
const (
	weightsMXFP4 = 32
	bytesMXFP4   = 17
	weightsNVFP4 = 64
	bytesNVFP4   = 36
	groupsNVFP4  = 4
)

// halvesE2M1 is twice what a level stands for. There are sixteen levels.
var halvesE2M1 = [256]float32{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}

// scalesMXFP4 is half of what the scale byte stands for, because levels are counted in halves. scalesNVFP4 likewise; its
// numbers have three bits of mantissa and an exponent with bias 7. 127 would be NaN and counts as 0, and beyond it the
// exponent goes on growing as though there were no sign.
var scalesMXFP4, scalesNVFP4 = func() (mx, nv [256]float32) {
	for i := range mx {
		mx[i] = float32(math.Ldexp(1, i-128))
		mantissa, exponent := float64(i&7), i>>3&15
		if exponent > 0 {
			mantissa += 8
			exponent--
		}
		nv[i] = float32(math.Ldexp(mantissa, exponent-10))
	}
	nv[127] = 0
	return mx, nv
}()

func dequantizeMXFP4(dst []float32, src []byte) {
	var level [weightsMXFP4]uint8
	for len(dst) >= weightsMXFP4 && len(src) >= bytesMXFP4 {
		unpackNibbles(&level, (*[16]byte)(src[1:]))
		scaleLevels((*[32]float32)(dst), &level, scalesMXFP4[src[0]], &halvesE2M1)
		dst, src = dst[weightsMXFP4:], src[bytesMXFP4:]
	}
}

func dequantizeNVFP4(dst []float32, src []byte) {
	var level [16]uint8
	for len(dst) >= weightsNVFP4 && len(src) >= bytesNVFP4 {
		b := (*[bytesNVFP4]byte)(src)
		for i, s := range b[:groupsNVFP4] {
			q := load8(b[groupsNVFP4+8*i:])
			store8(level[:], q&eachLow4)
			store8(level[8:], q>>4&eachLow4)
			scaleLevels16((*[16]float32)(dst[16*i:]), &level, scalesNVFP4[s], &halvesE2M1)
		}
		dst, src = dst[weightsNVFP4:], src[bytesNVFP4:]
	}
}

func quantizeMXFP4(dst []byte, src []float32) {
	var level [weightsMXFP4]uint8
	for len(src) >= weightsMXFP4 && len(dst) >= bytesMXFP4 {
		x := (*[weightsMXFP4]float32)(src)
		dst[0] = exponentMXFP4(absf(peak(x[:])))
		levelsE2M1(level[:], x[:], scalesMXFP4[dst[0]])
		packNibbles((*[16]byte)(dst[1:]), &level)
		src, dst = src[weightsMXFP4:], dst[bytesMXFP4:]
	}
}

func quantizeNVFP4(dst []byte, src []float32) {
	var level [16]uint8
	for len(src) >= weightsNVFP4 && len(dst) >= bytesNVFP4 {
		x, b := (*[weightsNVFP4]float32)(src), (*[bytesNVFP4]byte)(dst)
		for i := range groupsNVFP4 {
			group := x[16*i:][:16]
			b[i] = scaleNVFP4(absf(peak(group)) / 6)
			levelsE2M1(level[:], group, scalesNVFP4[b[i]])
			for j := range 8 {
				b[groupsNVFP4+8*i+j] = level[j] | level[j+8]<<4
			}
		}
		src, dst = src[weightsNVFP4:], dst[bytesNVFP4:]
	}
}

// levelsE2M1 sets the levels nearest to x, the first of several.
func levelsE2M1(level []uint8, x []float32, half float32) {
	var grid [8]float32
	for i := range grid {
		grid[i] = halvesE2M1[i] * half
	}
	for i, v := range x {
		mag, nearest := absf(v), 0
		least := absf(mag - grid[0])
		for q := 1; q < len(grid); q++ {
			if e := absf(grid[q] - mag); e < least {
				least, nearest = e, q
			}
		}
		if v < 0 && nearest > 0 {
			nearest += 8
		}
		level[i] = uint8(nearest)
	}
}

// exponentMXFP4 is the scale byte that brings the greatest magnitude to levels from 4 to 8. The logarithm is rounded to
// float32, so that magnitudes just below a power of two count as it.
func exponentMXFP4(greatest float32) uint8 {
	if !(greatest > 0) {
		return 0
	}
	log := float32(math.Log2(float64(greatest)))
	return uint8(truncated(float32(math.Floor(float64(log))) - 2 + 127))
}

// scaleNVFP4 is the E4M3 number nearest to f, halves away from 0. As the reference has it, everything from the rounding up to
// 256 on counts as the largest number, 448.
func scaleNVFP4(f float32) uint8 {
	if !(f > 0) {
		return 0
	}
	const highest, largest = 15 << 3, 0x7e
	bits := math.Float32bits(f)
	exponent := int(bits>>23) - 127 + 7
	if exponent <= 0 {
		return uint8(min(truncated(float32(f*512)+0.5), 7))
	}
	number := exponent<<3 + int(bits>>20&7+bits>>19&1)
	if number >= highest {
		return largest
	}
	return uint8(number)
}

// nonFiniteMXFP4 takes the scale byte 255 for what the standard says it is, NaN. The largest scales below it overflow with
// the largest levels.
func nonFiniteMXFP4(data []byte) int {
	var y [weightsMXFP4]float32
	for block := 0; (block+1)*bytesMXFP4 <= len(data); block++ {
		b := data[block*bytesMXFP4:][:bytesMXFP4]
		switch {
		case b[0] < 252:
			continue
		case b[0] == 255:
			return block * weightsMXFP4
		}
		dequantizeMXFP4(y[:], b)
		for i, f := range y {
			if f-f != 0 {
				return block*weightsMXFP4 + i
			}
		}
	}
	return -1
}

// nonFiniteNVFP4 finds nothing: no scale of the format is infinite or NaN.
func nonFiniteNVFP4([]byte) int { return -1 }
