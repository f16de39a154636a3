package quant

import (
	"encoding/binary"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// TQ1_0 is a super-block of 256 weights d·(q-1) of three codes, five a byte, the most significant first, as a fraction
// of 256: 32 bytes hold codes i, i+32 … i+128 of 160, the next 16 codes i, i+16 … i+64 of 80, and four more codes i,
// i+4, i+8 and i+12 of the last 16. Then comes the half precision d.
const (
	dTQ1_0     = 52
	bytesTQ1_0 = 54
)

func init() {
	register(gguf.TQ1_0, format{
		weights: weightsK, bytes: bytesTQ1_0, nonFinite: halfScales(weightsK, bytesTQ1_0, dTQ1_0),
		dequantize: dequantizeTQ1_0, quantize: quantizeTQ1_0,
		layout: oneScale(weightsK, dTQ1_0).with(-1, 3,
			func(codes *[weightsK]uint8, b []byte) { unpackTrits(codes, (*[dTQ1_0]byte)(b)) },
			func(b []byte, codes *[weightsK]uint8) { packTrits((*[dTQ1_0]byte)(b), codes) }),
	})
}

// A tritRun is a run of bytes in TQ1_0: byte i of it holds codes i, i+stride … of those that begin at first.
type tritRun struct{ at, stride, first, perByte int }

var tritRuns = [...]tritRun{{0, 32, 0, 5}, {32, 16, 160, 5}, {48, 4, 240, 4}}

func dequantizeTQ1_0(dst []float32, src []byte) {
	done := kernels.Dequantize(kernels.TQ1_0, dst, src)
	dst, src = dst[done:], src[done/weightsK*bytesTQ1_0:]
	var codes [weightsK]uint8
	for len(dst) >= weightsK && len(src) >= bytesTQ1_0 {
		unpackTrits(&codes, (*[dTQ1_0]byte)(src))
		scaleTernary((*[weightsK]float32)(dst), &codes, loadHalf((*[2]byte)(src[dTQ1_0:])))
		dst, src = dst[weightsK:], src[bytesTQ1_0:]
	}
}

func quantizeTQ1_0(dst []byte, src []float32) {
	var codes [weightsK]uint8
	for len(src) >= weightsK && len(dst) >= bytesTQ1_0 {
		d := ternaryCodes(&codes, (*[weightsK]float32)(src))
		storeHalf((*[2]byte)(dst[dTQ1_0:]), d)
		packTrits((*[dTQ1_0]byte)(dst), &codes)
		src, dst = src[weightsK:], dst[bytesTQ1_0:]
	}
}

// packTrits packs five codes as the digits of a number of base three, and stores that as a fraction of 256, rounded
// up: the codes come out again as the carries of multiplying by three.
func packTrits(b *[dTQ1_0]byte, codes *[weightsK]uint8) {
	for _, run := range tritRuns {
		for i := range run.stride {
			var spelled uint8
			for j := range 5 {
				spelled *= 3
				if j < run.perByte {
					spelled += codes[run.first+i+j*run.stride]
				}
			}
			b[run.at+i] = uint8((uint16(spelled)*256 + 242) / 243)
		}
	}
}

// unpackTrits is the inverse of packTrits.
func unpackTrits(codes *[weightsK]uint8, b *[dTQ1_0]byte) {
	for i := 0; i < 32; i += 8 {
		rest := load8(b[i:])
		for j := i; j < 160; j += 32 {
			var trits uint64
			trits, rest = nextTrits(rest)
			store8(codes[j:], trits)
		}
	}
	for i := 0; i < 16; i += 8 {
		rest := load8(b[32+i:])
		for j := 160 + i; j < 240; j += 16 {
			var trits uint64
			trits, rest = nextTrits(rest)
			store8(codes[j:], trits)
		}
	}
	rest := uint64(binary.LittleEndian.Uint32(b[48:]))
	for j := 240; j < 256; j += 4 {
		var trits uint64
		trits, rest = nextTrits(rest)
		binary.LittleEndian.PutUint32(codes[j:], uint32(trits))
	}
}

// nextTrits takes the most significant code from each of eight bytes: the high part of three times the byte is the
// code, the low part is the rest.
func nextTrits(bytes uint64) (trits, rest uint64) {
	const lanes = 0x00ff00ff_00ff00ff
	even, odd := 3*(bytes&lanes), 3*(bytes>>8&lanes)
	return even>>8&lanes | odd&^lanes, even&lanes | odd&lanes<<8
}
