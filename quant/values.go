package quant

import "encoding/binary"

// A block is dequantized in two steps. First its codes are unpacked to a byte each, eight at a time. Then each becomes
// a weight. The value of a code comes from a table, which is faster than an integer conversion.
var (
	unsigned   [256]float32 // code
	lessOne    [256]float32 // code - 1
	lessFour   [256]float32 // code - 4
	lessEight  [256]float32 // code - 8
	less16     [256]float32 // code - 16
	less32     [256]float32 // code - 32
	signedByte [256]float32 // int8(code)
)

func init() {
	for i := range unsigned {
		f := float32(i)
		unsigned[i], lessOne[i], lessFour[i], lessEight[i], less16[i], less32[i] = f, f-1, f-4, f-8, f-16, f-32
		signedByte[i] = float32(int8(i))
	}
}

// scaleCodes is y[i] = d·value[code[i]].
func scaleCodes(y *[32]float32, codes *[32]byte, d float32, value *[256]float32) {
	for i := 0; i < len(y); i += 4 {
		y[i] = d * value[codes[i]]
		y[i+1] = d * value[codes[i+1]]
		y[i+2] = d * value[codes[i+2]]
		y[i+3] = d * value[codes[i+3]]
	}
}

// scaleCodes16 is scaleCodes of 16.
func scaleCodes16(y *[16]float32, codes *[16]byte, d float32, value *[256]float32) {
	for i := 0; i < len(y); i += 4 {
		y[i] = d * value[codes[i]]
		y[i+1] = d * value[codes[i+1]]
		y[i+2] = d * value[codes[i+2]]
		y[i+3] = d * value[codes[i+3]]
	}
}

// scaleCodesAdd is y[i] = d·code[i] + m, the product rounded before the addition.
func scaleCodesAdd(y *[32]float32, codes *[32]byte, d, m float32) {
	for i := 0; i < len(y); i += 4 {
		y[i] = float32(d*unsigned[codes[i]]) + m
		y[i+1] = float32(d*unsigned[codes[i+1]]) + m
		y[i+2] = float32(d*unsigned[codes[i+2]]) + m
		y[i+3] = float32(d*unsigned[codes[i+3]]) + m
	}
}

// scaleCodesAdd16 is scaleCodesAdd of 16.
func scaleCodesAdd16(y *[16]float32, codes *[16]byte, d, m float32) {
	for i := 0; i < len(y); i += 4 {
		y[i] = float32(d*unsigned[codes[i]]) + m
		y[i+1] = float32(d*unsigned[codes[i+1]]) + m
		y[i+2] = float32(d*unsigned[codes[i+2]]) + m
		y[i+3] = float32(d*unsigned[codes[i+3]]) + m
	}
}

// Eight codes of a byte each in one number, the first lowest.
const (
	eachLow4 = 0x0f0f0f0f_0f0f0f0f
	eachLow2 = 0x03030303_03030303
	eachBit0 = 0x01010101_01010101
)

// load8 is eight bytes as one number.
func load8(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// store8 is the inverse of load8.
func store8(b []byte, v uint64) { binary.LittleEndian.PutUint64(b, v) }

// highBits spreads the bits of b to the highest bits of eight bytes.
func highBits(b byte) uint64 {
	v := uint64(b) * eachBit0 & 0x80402010_08040201 // bit i alone in byte i
	return (v + 0x7f7f7f7f_7f7f7f7f) & (eachBit0 << 7)
}
