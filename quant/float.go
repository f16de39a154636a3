package quant

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

func init() {
	register(gguf.F32, format{
		weights: 1, bytes: 4, dequantize: dequantizeF32, quantize: quantizeF32, nonFinite: nonFiniteF32,
	})
	register(gguf.F16, format{
		weights: 1, bytes: 2, dequantize: dequantizeF16, quantize: quantizeF16, nonFinite: nonFiniteF16,
	})
	register(gguf.BF16, format{
		weights: 1, bytes: 2, dequantize: dequantizeBF16, quantize: quantizeBF16, nonFinite: nonFiniteBF16,
	})
}

// littleEndian says whether float32 have the same bytes in memory as in a file; the compiler knows the answer.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// bytesOf is the memory of x.
func bytesOf(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

func dequantizeF32(dst []float32, src []byte) {
	if littleEndian {
		copy(bytesOf(dst), src)
		return
	}
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

func quantizeF32(dst []byte, src []float32) {
	if littleEndian {
		copy(dst, bytesOf(src))
		return
	}
	for i, f := range src {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(f))
	}
}

func dequantizeF16(dst []float32, src []byte) {
	done := kernels.Dequantize(kernels.F16Block, dst, src)
	dst, src = dst[done:], src[2*done:]
	for len(dst) >= 4 && len(src) >= 8 {
		h := load8(src)
		if fourCommonHalves(h) {
			dst[0] = halfToFloatCommon(uint16(h))
			dst[1] = halfToFloatCommon(uint16(h >> 16))
			dst[2] = halfToFloatCommon(uint16(h >> 32))
			dst[3] = halfToFloatCommon(uint16(h >> 48))
		} else {
			dst[0] = halfToFloat(uint16(h))
			dst[1] = halfToFloat(uint16(h >> 16))
			dst[2] = halfToFloat(uint16(h >> 32))
			dst[3] = halfToFloat(uint16(h >> 48))
		}
		dst, src = dst[4:], src[8:]
	}
	for i := range dst {
		dst[i] = halfToFloat(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

// fourCommonHalves is commonHalf of all four halves in h. Added to an exponent, one unit reaches the sign bit when it
// was all ones, and all ones but for the unit do so unless it was zero.
func fourCommonHalves(h uint64) bool {
	const exponent, unit, sign = 0x7c007c00_7c007c00, 0x04000400_04000400, 0x80008000_80008000
	h &= exponent
	return (h+unit|^(h+exponent))&sign == 0
}

func quantizeF16(dst []byte, src []float32) {
	done := kernels.Quantize(kernels.F16Block, dst, src)
	src, dst = src[done:], dst[2*done:]
	for i, f := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], floatToHalf(f))
	}
}

func dequantizeBF16(dst []float32, src []byte) {
	done := kernels.Dequantize(kernels.BF16Block, dst, src)
	dst, src = dst[done:], src[2*done:]
	for len(dst) >= 4 && len(src) >= 8 {
		h := load8(src)
		dst[0] = math.Float32frombits(uint32(h) << 16)
		dst[1] = math.Float32frombits(uint32(h) & 0xffff0000)
		dst[2] = math.Float32frombits(uint32(h>>32) << 16)
		dst[3] = math.Float32frombits(uint32(h>>32) & 0xffff0000)
		dst, src = dst[4:], src[8:]
	}
	for i := range dst {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
	}
}

func quantizeBF16(dst []byte, src []float32) {
	done := kernels.Quantize(kernels.BF16Block, dst, src)
	src, dst = src[done:], dst[2*done:]
	for i, f := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], floatToBrain(f))
	}
}
