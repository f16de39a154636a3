package kernels

import "math"

// The definitions of the products of blocks with a rounded row. Every block gives a whole number, which is multiplied
// by the steps of both sides and added up in float32.

// productGeneric is a row of blocks times row number row of x:
//
//	for b := range blocks { sum += float32(Σ codes·x's codes) · (d·step) }
//
// less the minima times the sums of x, of kinds that have them.
func productGeneric(kind BlockKind, w []byte, x *Rounded, row int) float32 {
	size := blockSizes[kind]
	var sum float32
	for b := range x.cols / size.weights {
		block := w[b*size.bytes:][:size.bytes]
		if x.supers {
			sum += superGeneric(kind, block, &x.super[row*x.cols/256+b])
		} else {
			sum += blockGeneric(kind, block, &x.small[row*x.cols/32+b])
		}
	}
	return sum
}

// superGeneric is the product of a block of 256 weights.
func superGeneric(kind BlockKind, w []byte, x *roundedSuper) float32 {
	var codes [256]int32
	switch kind {
	case Q4_K, Q5_K:
		levels := w[len(w)-128:]
		for i := range codes {
			g := i / 32
			codes[i] = int32(levels[g/2*32+i%32] >> (4 * (g % 2)) & 15)
			if kind == Q5_K {
				codes[i] |= int32(w[16+i%32]>>g&1) << 4
			}
		}
		var scales, minima [8]int32
		for g := range scales {
			scales[g], minima[g] = affineCode(w[4:16], g)
		}
		var sum, less int32
		for g, s := range scales {
			sum += s * dotCodes(codes[32*g:][:32], x.codes[32*g:])
			less += minima[g] * int32(x.sums32[g])
		}
		d, dmin := halfAt(w), halfAt(w[2:])
		return float32(sum)*(d*x.step) - float32(less)*(dmin*x.step)
	case Q6_K:
		for i := range codes {
			half, quarter, j := i/128, i/32%4, i%32
			low := w[64*half+quarter%2*32+j] >> (quarter / 2 * 4) & 15
			codes[i] = int32(low|w[128+32*half+j]>>(2*quarter)&3<<4) - 32
		}
		var sum int32
		for g := range 16 {
			sum += int32(int8(w[192+g])) * dotCodes(codes[16*g:][:16], x.codes[16*g:])
		}
		return float32(sum) * (halfAt(w[208:]) * x.step)
	case IQ4_XS:
		var sum int32
		high := uint32(w[2]) | uint32(w[3])<<8
		for g := range 8 {
			unpackValues(codes[32*g:], w[8+16*g:], &valuesIQ4)
			scale := int32(w[4+g/2]>>(4*(g%2))&15) | int32(high>>(2*g)&3<<4)
			sum += (scale - 32) * dotCodes(codes[32*g:][:32], x.codes[32*g:])
		}
		return float32(sum) * (halfAt(w) * x.step)
	}
	panic("kernels: a kind of blocks that has no product")
}

// affineCode is the scale and the minimum, of six bits each, of group g of the twelve bytes of a super-block.
func affineCode(b []byte, g int) (scale, minimum int32) {
	if g < 4 {
		return int32(b[g] & 63), int32(b[g+4] & 63)
	}
	return int32(b[g+4]&15 | b[g-4]>>6<<4), int32(b[g+4]>>4 | b[g]>>6<<4)
}

var (
	valuesIQ4  = [16]int8{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}
	halvesE2M1 = [16]int8{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}
)

// unpackValues sets the first 32 codes to the values of the nibbles of 16 bytes, the low ones first.
func unpackValues(codes []int32, b []byte, values *[16]int8) {
	for i := range 16 {
		codes[i], codes[i+16] = int32(values[b[i]&15]), int32(values[b[i]>>4])
	}
}

// blockGeneric is the product of a block of 32 weights.
func blockGeneric(kind BlockKind, w []byte, x *roundedBlock) float32 {
	var codes [32]int32
	d, minimum := halfAt(w), float32(0)
	switch kind {
	case Q8_0:
		for i := range codes {
			codes[i] = int32(int8(w[2+i]))
		}
	case Q4_0, Q4_1, Q5_0, Q5_1:
		levels := w[len(w)-16:]
		for i := range codes {
			codes[i] = int32(levels[i%16] >> (i / 16 * 4) & 15)
			switch kind {
			case Q4_0:
				codes[i] -= 8
			case Q5_0:
				codes[i] += int32(w[2+i/8]>>(i%8)&1)<<4 - 16
			case Q5_1:
				codes[i] += int32(w[4+i/8]>>(i%8)&1) << 4
			}
		}
		if kind == Q4_1 || kind == Q5_1 {
			minimum = halfAt(w[2:])
		}
	case IQ4_NL:
		unpackValues(codes[:], w[2:], &valuesIQ4)
	case MXFP4:
		unpackValues(codes[:], w[1:], &halvesE2M1)
		d = float32(math.Ldexp(1, int(w[0])-128))
	default:
		panic("kernels: a kind of blocks that has no product")
	}
	return float32(dotCodes(codes[:], x.codes[:]))*(d*x.step) + minimum*x.sum
}

// dotCodes is the dot product of codes.
func dotCodes(w []int32, x []int8) (sum int32) {
	for i, c := range w {
		sum += c * int32(x[i])
	}
	return sum
}

// multiplyRowGeneric is productGeneric of each row of blocks.
func multiplyRowGeneric(kind BlockKind, rows, bytes int, w []byte, x *Rounded, row int, y []float32) {
	for r := range rows {
		y[r] = productGeneric(kind, w[r*bytes:(r+1)*bytes], x, row)
	}
}
