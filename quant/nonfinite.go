package quant

import "encoding/binary"

// A number is infinite or NaN when its exponent bits are all ones. Two float32 or four 16-bit numbers are tested at a
// time: with the other bits cleared, adding one unit of the exponent carries into the sign bit exactly then.

func nonFiniteF32(data []byte) int {
	return firstFullExponent(data, 4, 0x7f800000_7f800000, 0x00800000_00800000)
}

func nonFiniteF16(data []byte) int {
	return firstFullExponent(data, 2, 0x7c007c00_7c007c00, 0x04000400_04000400)
}

func nonFiniteBF16(data []byte) int {
	return firstFullExponent(data, 2, 0x7f807f80_7f807f80, 0x00800080_00800080)
}

// firstFullExponent is the index of the first number of the given size, in bytes, whose bits under exponent are all
// set, or -1. exponent and unit hold their pattern for one number as often as 64 bits have room.
func firstFullExponent(data []byte, size int, exponent, unit uint64) int {
	sign := (exponent + unit) &^ exponent
	at := 0
	for ; len(data)-at >= 8; at += 8 {
		if (binary.LittleEndian.Uint64(data[at:])&exponent+unit)&sign != 0 {
			break
		}
	}
	for ; at < len(data); at += size {
		var last [8]byte
		copy(last[:], data[at:at+size])
		if (binary.LittleEndian.Uint64(last[:])&exponent+unit)&sign != 0 {
			return at / size
		}
	}
	return -1
}

// halfScales makes the nonFinite function of a format of which a block's weights are finite exactly when its half
// precision scales, found at the given offsets, are.
func halfScales(weights, bytes int, offsets ...int) func(data []byte) int {
	return func(data []byte) int {
		for block := 0; (block+1)*bytes <= len(data); block++ {
			b := data[block*bytes:][:bytes]
			for _, off := range offsets {
				if b[off+1]&0x7c == 0x7c {
					return block * weights
				}
			}
		}
		return -1
	}
}
