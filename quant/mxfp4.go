package quant

import (
	"math"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// MXFP4 is 32 numbers of one sign bit, two bits of exponent and one of mantissa (E2M1) with a shared exponent: a byte
// e for the scale 2^(e-127), then 16 bytes of codes as in Q4_0.
const (
	weightsMXFP4 = 32
	bytesMXFP4   = 17
)

func init() {
	register(gguf.MXFP4, format{
		weights: weightsMXFP4, bytes: bytesMXFP4, nonFinite: nonFiniteMXFP4,
		dequantize: dequantizeMXFP4, quantize: quantizeMXFP4,
		layout: layoutMXFP4().uneven(valuesE2M1, nibblesFrom(1), nibblesTo(1)).byRank(&ranksE2M1, codeOfE2M1),
	})
}

// scalesMXFP4 is half of the scale, because values are stored doubled.
var scalesMXFP4 = func() (scales [256]float32) {
	for i := range scales {
		scales[i] = float32(math.Ldexp(1, i-128))
	}
	return scales
}()

// halvesE2M1 are the values of the sixteen codes, times two.
var halvesE2M1 = [256]float32{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}

func dequantizeMXFP4(dst []float32, src []byte) {
	done := kernels.Dequantize(kernels.MXFP4, dst, src)
	dst, src = dst[done:], src[done/weightsMXFP4*bytesMXFP4:]
	var codes [weightsMXFP4]uint8
	for len(dst) >= weightsMXFP4 && len(src) >= bytesMXFP4 {
		unpackNibbles(&codes, (*[16]byte)(src[1:]))
		scaleCodes((*[32]float32)(dst), &codes, scalesMXFP4[src[0]], &halvesE2M1)
		dst, src = dst[weightsMXFP4:], src[bytesMXFP4:]
	}
}

func quantizeMXFP4(dst []byte, src []float32) {
	var codes [weightsMXFP4]uint8
	for len(src) >= weightsMXFP4 && len(dst) >= bytesMXFP4 {
		x := (*[weightsMXFP4]float32)(src)
		greatest := absf(peak(x[:]))
		dst[0] = exponentMXFP4(greatest)
		codesE2M1(codes[:], x[:], greatest, scalesMXFP4[dst[0]])
		packNibbles((*[16]byte)(dst[1:]), &codes)
		src, dst = src[weightsMXFP4:], dst[bytesMXFP4:]
	}
}

// exponentMXFP4 is the scale byte that maps the greatest magnitude to values from 4 to 8. The logarithm is rounded to
// float32, so magnitudes just below a power of two count as that power.
func exponentMXFP4(greatest float32) uint8 {
	if !(greatest > 0) {
		return 0
	}
	log := float32(math.Log2(float64(greatest)))
	return uint8(truncated(float32(math.Floor(float64(log))) - 2 + 127))
}

// codesE2M1 sets the codes nearest to x, whose greatest magnitude is peak; the lower one of two that are equally
// near, and 0 for NaN.
func codesE2M1(codes []uint8, x []float32, peak, half float32) {
	const largestHalf = 1 << 122 // beyond it the sum of two values overflows
	if !(peak < half*(1<<20)) || half > largestHalf || hasNaN(x) {
		farCodesE2M1(codes, x, half)
		return
	}
	var between [7]uint32 // the middle between each two magnitudes; of positive numbers, the bits are in order
	for i := range between {
		between[i] = math.Float32bits(half * (halvesE2M1[i] + halvesE2M1[i+1]) / 2)
	}
	for i, v := range x[:len(codes)] {
		bits := math.Float32bits(v)
		mag := bits &^ (1 << 31)
		q := (between[0]-mag)>>31 + (between[1]-mag)>>31 + (between[2]-mag)>>31 + (between[3]-mag)>>31 +
			(between[4]-mag)>>31 + (between[5]-mag)>>31 + (between[6]-mag)>>31
		codes[i] = uint8(q | bits>>28&8&(-q>>28)) // zero has no sign
	}
}

// farCodesE2M1 is codesE2M1 of any weights. Far beyond the largest value rounding makes all errors equal; then the
// code is 0. So it is where the value of a code overflows.
func farCodesE2M1(codes []uint8, x []float32, half float32) {
	for i, v := range x[:len(codes)] {
		mag, nearest := absf(v), 0
		least := mag
		for q := 1; q < 8; q++ {
			if e := absf(float32(halvesE2M1[q]*half) - mag); e < least {
				least, nearest = e, q
			}
		}
		if v < 0 && nearest > 0 {
			nearest += 8
		}
		codes[i] = uint8(nearest)
	}
}

// nonFiniteMXFP4 takes the scale byte 255 as NaN, as the standard says. The largest scales below it overflow with the
// largest values.
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

// valuesE2M1 are the values of halvesE2M1 in order; ranksE2M1 and codeOfE2M1 convert between code and rank. Zero has
// two codes; the one without a sign is written.
var (
	valuesE2M1 = []float32{-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12}
	codeOfE2M1 = []uint8{15, 14, 13, 12, 11, 10, 9, 0, 1, 2, 3, 4, 5, 6, 7}
	ranksE2M1  = [256]uint8{7, 8, 9, 10, 11, 12, 13, 14, 7, 6, 5, 4, 3, 2, 1, 0}
)

// layoutMXFP4 has a power of two as its scale.
func layoutMXFP4() *layout {
	return &layout{
		group: 32,
		load:  func(b []byte, g *blockScales) { g.scale[0], g.offset[0] = scalesMXFP4[b[0]], 0 },
		store: func(b []byte, g *blockScales) {
			if s := g.scale[0]; s > 0 && s-s == 0 {
				fraction, exponent := math.Frexp(float64(s)) // s = fraction·2^exponent, 1/2 ≤ fraction < 1
				if fraction < 0.75 {
					exponent--
				}
				b[0] = uint8(min(max(exponent+128, 0), 254))
			}
		},
	}
}
