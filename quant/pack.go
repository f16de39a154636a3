package quant

import "encoding/binary"

// packNibbles puts the low four bits of code i and of code i+16 into byte i.
func packNibbles(q *[16]byte, codes *[32]uint8) {
	store8(q[:], load8(codes[:])&eachLow4|load8(codes[16:])&eachLow4<<4)
	store8(q[8:], load8(codes[8:])&eachLow4|load8(codes[24:])&eachLow4<<4)
}

// unpackNibbles is the inverse of packNibbles.
func unpackNibbles(codes *[32]uint8, q *[16]byte) {
	a, b := load8(q[:]), load8(q[8:])
	store8(codes[:], a&eachLow4)
	store8(codes[8:], b&eachLow4)
	store8(codes[16:], a>>4&eachLow4)
	store8(codes[24:], b>>4&eachLow4)
}

// packFiveBits puts bit 4 of code i into bit i of high, and the low four bits of codes i and i+16 into byte i of low.
func packFiveBits(high *[4]byte, low *[16]byte, codes *[32]uint8) {
	var bits uint32
	for i, l := range codes {
		bits |= uint32(l>>4&1) << i
	}
	binary.LittleEndian.PutUint32(high[:], bits)
	packNibbles(low, codes)
}

// unpackFiveBits is the inverse of packFiveBits.
func unpackFiveBits(codes *[32]uint8, high *[4]byte, low *[16]byte) {
	a, b := load8(low[:]), load8(low[8:])
	store8(codes[:], a&eachLow4|highBits(high[0])>>3)
	store8(codes[8:], b&eachLow4|highBits(high[1])>>3)
	store8(codes[16:], a>>4&eachLow4|highBits(high[2])>>3)
	store8(codes[24:], b>>4&eachLow4|highBits(high[3])>>3)
}

// packCrumbs puts the low two bits of the codes into bytes: byte i of each 32 holds those of codes i, i+32, i+64 and
// i+96 of 128, from the lowest bits up.
func packCrumbs(q *[64]byte, codes *[weightsK]uint8) {
	for half := range 2 {
		l, to := (*[128]uint8)(codes[128*half:]), (*[32]byte)(q[32*half:])
		for i := range to {
			to[i] = l[i]&3 | l[i+32]&3<<2 | l[i+64]&3<<4 | l[i+96]&3<<6
		}
	}
}

// unpackCrumbs is the inverse of packCrumbs.
func unpackCrumbs(codes *[weightsK]uint8, q *[64]byte) {
	for half := range 2 {
		l, from := (*[128]uint8)(codes[128*half:]), (*[32]byte)(q[32*half:])
		for i := 0; i < 32; i += 8 {
			v := load8(from[i:])
			store8(l[i:], v&eachLow2)
			store8(l[i+32:], v>>2&eachLow2)
			store8(l[i+64:], v>>4&eachLow2)
			store8(l[i+96:], v>>6&eachLow2)
		}
	}
}
