package quant

import (
	"encoding/binary"
	"math"

	"github.com/peftconv/peftconv/gguf"
)

// A layout describes how the blocks of a type store scales, offsets and codes.
type layout struct {
	group  int  // weights that share a scale
	affine bool // there are offsets
	shared bool // several groups share a factor, so groups have different weights

	load  func(b []byte, g *blockScales)
	store func(b []byte, g *blockScales) // b holds the base

	// The fields below are empty where weights have no codes of their own.
	values []float32   // values of the codes before scaling, ascending
	even   bool        // values are 1 apart
	ranks  *[256]uint8 // rank of a code's value; nil: the code itself
	codes  []uint8     // codes by rank; nil: the rank itself
	unpack func(codes *[weightsK]uint8, b []byte)
	pack   func(b []byte, codes *[weightsK]uint8)
}

// layoutOf is the layout of a type, or nil.
func layoutOf(t gguf.Type) *layout {
	if int(t) >= len(layouts) || layouts[t].group == 0 {
		return nil
	}
	return &layouts[t]
}

// counted is n values that are 1 apart.
func counted(first float32, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = first + float32(i)
	}
	return v
}

// oneScale is the layout of blocks with a half precision scale at a place.
func oneScale(weights, at int) layout {
	return layout{
		group: weights,
		load:  func(b []byte, g *blockScales) { g.scale[0], g.offset[0] = loadHalf((*[2]byte)(b[at:])), 0 },
		store: func(b []byte, g *blockScales) { storeHalf((*[2]byte)(b[at:]), clampHalf(g.scale[0])) },
	}
}

// scaleAndMinimum is the layout of blocks of 32 that begin with a half precision scale and offset.
func scaleAndMinimum() layout {
	return layout{
		group: 32, affine: true,
		load: func(b []byte, g *blockScales) {
			g.scale[0], g.offset[0] = loadHalf((*[2]byte)(b)), loadHalf((*[2]byte)(b[2:]))
		},
		store: func(b []byte, g *blockScales) {
			storeHalf((*[2]byte)(b), clampHalf(g.scale[0]))
			storeHalf((*[2]byte)(b[2:]), clampHalf(g.offset[0]))
		},
	}
}

// layout is that of super-blocks with sub-scales.
func (s *subScales) layout() layout {
	return layout{group: weightsK / s.n, shared: true, load: s.loadScales, store: s.storeScales}
}

func (s *affineScales) layout() layout {
	return layout{group: weightsK / s.n, shared: true, affine: true, load: s.loadScales, store: s.storeScales}
}

// with adds codes that stand for whole numbers from first on.
func (g layout) with(first float32, n int, unpack func(codes *[weightsK]uint8, b []byte), pack func(b []byte, codes *[weightsK]uint8)) layout {
	g.values, g.even, g.unpack, g.pack = counted(first, n), true, unpack, pack
	return g
}

// uneven adds codes that stand for the given values.
func (g layout) uneven(values []float32, unpack func(codes *[weightsK]uint8, b []byte), pack func(b []byte, codes *[weightsK]uint8)) layout {
	g.values, g.unpack, g.pack = values, unpack, pack
	return g
}

// layouts are the layouts by the id of their type; group == 0 marks types without one.
var layouts = [...]layout{
	gguf.Q4_0: oneScale(32, 0).with(-8, 16, nibblesFrom(2), nibblesTo(2)),
	gguf.Q5_0: oneScale(32, 0).with(-16, 32, fiveBitsFrom(2), fiveBitsTo(2)),
	gguf.Q8_0: layoutQ8_0(),
	gguf.Q4_1: scaleAndMinimum().with(0, 16, nibblesFrom(4), nibblesTo(4)),
	gguf.Q5_1: scaleAndMinimum().with(0, 32, fiveBitsFrom(4), fiveBitsTo(4)),

	gguf.Q2_K: scalesOfQ2_K.layout().with(0, 4,
		func(codes *[weightsK]uint8, b []byte) { unpackCrumbs(codes, (*[64]byte)(b[codesQ2_K:])) },
		func(b []byte, codes *[weightsK]uint8) { packCrumbs((*[64]byte)(b[codesQ2_K:]), codes) }),
	gguf.Q3_K: scalesOfQ3_K.layout().with(-4, 8,
		func(codes *[weightsK]uint8, b []byte) { unpackQ3_K(codes, (*[bytesQ3_K]byte)(b)) },
		func(b []byte, codes *[weightsK]uint8) { packQ3_K((*[bytesQ3_K]byte)(b), codes) }),
	gguf.Q4_K: scalesOfHead.layout().with(0, 16,
		func(codes *[weightsK]uint8, b []byte) { unpackQ4_K(codes, (*[128]byte)(b[headBytesK:])) },
		func(b []byte, codes *[weightsK]uint8) { packQ4_K((*[128]byte)(b[headBytesK:]), codes) }),
	gguf.Q5_K: scalesOfHead.layout().with(0, 32,
		func(codes *[weightsK]uint8, b []byte) { unpackQ5_K(codes, (*[bytesQ5_K]byte)(b)) },
		func(b []byte, codes *[weightsK]uint8) { packQ5_K((*[bytesQ5_K]byte)(b), codes) }),
	gguf.Q6_K: scalesOfQ6_K.layout().with(-32, 64,
		func(codes *[weightsK]uint8, b []byte) { unpackQ6_K(codes, (*[bytesQ6_K]byte)(b)) },
		func(b []byte, codes *[weightsK]uint8) { packQ6_K((*[bytesQ6_K]byte)(b), codes) }),

	gguf.IQ4_NL: oneScale(32, 0).uneven(valuesIQ4[:16], nibblesFrom(2), nibblesTo(2)),
	gguf.IQ4_XS: scalesOfIQ4_XS.layout().uneven(valuesIQ4[:16], unpackIQ4_XS, packIQ4_XS),

	gguf.IQ1_S:   scalesOfIQ1_S.layout(),
	gguf.IQ1_M:   scalesOfIQ1_M.layout(),
	gguf.IQ2_XXS: highNibbles(groupsIQ2_XXS+7, 8, 0.25).layout(),
	gguf.IQ2_XS:  nibbleScales(16, scalesIQ2_XS, subScaleLevels{0, 15, 0.25, 0.125, 4}).layout(),
	gguf.IQ2_S:   nibbleScales(16, scalesIQ2_S, subScaleLevels{0, 15, 0.25, 0.125, 4}).layout(),
	gguf.IQ3_XXS: highNibbles(signsIQ3_XXS+3, 4, 0.5).layout(),
	gguf.IQ3_S:   nibbleScales(8, scalesIQ3_S, subScaleLevels{0, 15, 2, 1, 0.5}).layout(),

	gguf.TQ1_0: oneScale(weightsK, dTQ1_0).with(-1, 3,
		func(codes *[weightsK]uint8, b []byte) { unpackTrits(codes, (*[dTQ1_0]byte)(b)) },
		func(b []byte, codes *[weightsK]uint8) { packTrits((*[dTQ1_0]byte)(b), codes) }),
	gguf.TQ2_0: oneScale(weightsK, dTQ2_0).with(-1, 3,
		func(codes *[weightsK]uint8, b []byte) { unpackCrumbs(codes, (*[64]byte)(b)) },
		func(b []byte, codes *[weightsK]uint8) { packCrumbs((*[64]byte)(b), codes) }).byRank(&[256]uint8{0, 1, 2, 2}, []uint8{0, 1, 2}),
	gguf.Q1_0: oneScale(weightsQ1_0, 0).uneven([]float32{-1, 1}, unpackQ1_0, packQ1_0),
	gguf.Q2_0: oneScale(weightsQ2_0, 0).with(-1, 4, unpackQ2_0, packQ2_0),

	gguf.MXFP4: layoutMXFP4().uneven(valuesE2M1, nibblesFrom(1), nibblesTo(1)).byRank(&ranksE2M1, codeOfE2M1),
	gguf.NVFP4: layoutNVFP4().uneven(valuesE2M1, unpackNVFP4, packNVFP4).byRank(&ranksE2M1, codeOfE2M1),
}

// byRank sets the order of the codes by value.
func (g layout) byRank(ranks *[256]uint8, codes []uint8) layout {
	g.ranks, g.codes = ranks, codes
	return g
}

func nibblesFrom(at int) func(codes *[weightsK]uint8, b []byte) {
	return func(codes *[weightsK]uint8, b []byte) { unpackNibbles((*[32]uint8)(codes[:]), (*[16]byte)(b[at:])) }
}

func nibblesTo(at int) func(b []byte, codes *[weightsK]uint8) {
	return func(b []byte, codes *[weightsK]uint8) { packNibbles((*[16]byte)(b[at:]), (*[32]uint8)(codes[:])) }
}

func fiveBitsFrom(at int) func(codes *[weightsK]uint8, b []byte) {
	return func(codes *[weightsK]uint8, b []byte) {
		unpackFiveBits((*[32]uint8)(codes[:]), (*[4]byte)(b[at:]), (*[16]byte)(b[at+4:]))
	}
}

func fiveBitsTo(at int) func(b []byte, codes *[weightsK]uint8) {
	return func(b []byte, codes *[weightsK]uint8) {
		packFiveBits((*[4]byte)(b[at:]), (*[16]byte)(b[at+4:]), (*[32]uint8)(codes[:]))
	}
}

// layoutQ8_0 has the codes from -127 to 127. -128, which no quantizer writes, is kept where a file has it, and never
// written, because kernels that split sign and magnitude fail on it.
func layoutQ8_0() layout {
	g := oneScale(32, 0).with(-127, 255,
		func(codes *[weightsK]uint8, b []byte) { copy(codes[:32], b[2:34]) },
		func(b []byte, codes *[weightsK]uint8) { copy(b[2:34], codes[:32]) })
	ranks, codes := new([256]uint8), make([]uint8, 255)
	for i := range codes {
		codes[i] = uint8(int8(i - 127))
		ranks[codes[i]] = uint8(i)
	}
	return g.byRank(ranks, codes)
}

// scalesOfHead are those of Q4_K and Q5_K.
var scalesOfHead = affineScales{
	subScaleLevels: subScaleLevels{0, topScaleK, 1, 0, 1}, n: groupsK,
	load: func(b []byte) (scale, minimum subScaleCodes) {
		head := (*[headBytesK]byte)(b)
		scale.d, minimum.d = loadHalf((*[2]byte)(head[:])), loadHalf((*[2]byte)(head[2:]))
		scales, minima := unpackScales(head)
		for i := range groupsK {
			scale.i[i], minimum.i[i] = int16(uint8(scales>>(8*i))), int16(uint8(minima>>(8*i)))
		}
		return scale, minimum
	},
	store: func(b []byte, scale, minimum subScaleCodes) {
		var scales, minima [groupsK]uint8
		for i := range groupsK {
			scales[i], minima[i] = uint8(scale.i[i]), uint8(minimum.i[i])
		}
		writeHead((*[headBytesK]byte)(b), scale.d, minimum.d, &scales, &minima)
	},
}

var scalesOfQ2_K = affineScales{
	subScaleLevels: subScaleLevels{0, 15, 1, 0, 1}, n: groupsQ2_K,
	load: func(b []byte) (scale, minimum subScaleCodes) {
		scale.d, minimum.d = loadHalf((*[2]byte)(b[dQ2_K:])), loadHalf((*[2]byte)(b[dminQ2_K:]))
		for i, s := range b[:groupsQ2_K] {
			scale.i[i], minimum.i[i] = int16(s&15), int16(s>>4)
		}
		return scale, minimum
	},
	store: func(b []byte, scale, minimum subScaleCodes) {
		for i := range groupsQ2_K {
			b[i] = uint8(scale.i[i] | minimum.i[i]<<4)
		}
		storeHalf((*[2]byte)(b[dQ2_K:]), scale.d)
		storeHalf((*[2]byte)(b[dminQ2_K:]), minimum.d)
	},
}

var scalesOfQ3_K = subScales{
	subScaleLevels: subScaleLevels{-32, 31, 1, 0, 1}, n: groupsQ3_K,
	load: func(b []byte) (r subScaleCodes) {
		r.d = loadHalf((*[2]byte)(b[dQ3_K:]))
		for i, s := range unpackScalesQ3_K((*[12]byte)(b[scalesQ3_K:])) {
			r.i[i] = int16(s) - 32
		}
		return r
	},
	store: func(b []byte, r subScaleCodes) {
		var scales [groupsQ3_K]uint8
		for i := range scales {
			scales[i] = uint8(r.i[i] + 32)
		}
		writeScalesQ3_K((*[bytesQ3_K]byte)(b), r.d, &scales)
	},
}

var scalesOfQ6_K = subScales{
	subScaleLevels: subScaleLevels{-128, 127, 1, 0, 1}, n: 16,
	load: func(b []byte) (r subScaleCodes) {
		r.d = loadHalf((*[2]byte)(b[dQ6_K:]))
		for i, s := range b[scalesQ6_K:dQ6_K] {
			r.i[i] = int16(int8(s))
		}
		return r
	},
	store: func(b []byte, r subScaleCodes) {
		storeHalf((*[2]byte)(b[dQ6_K:]), r.d)
		for i, s := range r.i {
			b[scalesQ6_K+i] = byte(s)
		}
	},
}

var scalesOfIQ4_XS = subScales{
	subScaleLevels: subScaleLevels{-32, 31, 1, 0, 1}, n: groupsK,
	load: func(b []byte) (r subScaleCodes) {
		r.d = loadHalf((*[2]byte)(b))
		high, low := binary.LittleEndian.Uint16(b[highIQ4_XS:]), binary.LittleEndian.Uint32(b[lowIQ4_XS:])
		for i := range groupsK {
			r.i[i] = int16(low>>(4*i)&15|uint32(high>>(2*i)&3)<<4) - 32
		}
		return r
	},
	store: func(b []byte, r subScaleCodes) {
		var high uint16
		var low uint32
		for i := range groupsK {
			q := r.i[i] + 32
			high |= uint16(q>>4) << (2 * i)
			low |= uint32(q&15) << (4 * i)
		}
		storeHalf((*[2]byte)(b), r.d)
		binary.LittleEndian.PutUint16(b[highIQ4_XS:], high)
		binary.LittleEndian.PutUint32(b[lowIQ4_XS:], low)
	},
}

func unpackIQ4_XS(codes *[weightsK]uint8, b []byte) {
	for i := range groupsK {
		unpackNibbles((*[32]uint8)(codes[32*i:]), (*[16]byte)(b[codesIQ4_XS+16*i:]))
	}
}

func packIQ4_XS(b []byte, codes *[weightsK]uint8) {
	for i := range groupsK {
		packNibbles((*[16]byte)(b[codesIQ4_XS+16*i:]), (*[32]uint8)(codes[32*i:]))
	}
}

// nibbleScales are sub-scales of four bits, two a byte, under a half precision factor at the start.
func nibbleScales(n, at int, l subScaleLevels) *subScales {
	return &subScales{
		subScaleLevels: l, n: n,
		load: func(b []byte) (r subScaleCodes) {
			r.d = loadHalf((*[2]byte)(b))
			for i := range n {
				r.i[i] = int16(b[at+i/2] >> (4 * (i & 1)) & 15)
			}
			return r
		},
		store: func(b []byte, r subScaleCodes) {
			storeHalf((*[2]byte)(b), r.d)
			for i := 0; i < n; i += 2 {
				b[at+i/2] = uint8(r.i[i] | r.i[i+1]<<4)
			}
		},
	}
}

// highNibbles are eight sub-scales (i + 1/2)·step in the high four bits of bytes that lie stride apart.
func highNibbles(at, stride int, step float32) *subScales {
	return &subScales{
		subScaleLevels: subScaleLevels{0, 15, step, step / 2, 1 / step}, n: 8,
		load: func(b []byte) (r subScaleCodes) {
			r.d = loadHalf((*[2]byte)(b))
			for i := range 8 {
				r.i[i] = int16(b[at+stride*i] >> 4)
			}
			return r
		},
		store: func(b []byte, r subScaleCodes) {
			storeHalf((*[2]byte)(b), r.d)
			for i := range 8 {
				b[at+stride*i] = b[at+stride*i]&15 | uint8(r.i[i])<<4
			}
		},
	}
}

var scalesOfIQ1_S = subScales{
	subScaleLevels: subScaleLevels{0, 7, 2, 1, 0.5}, n: 8,
	load: func(b []byte) (r subScaleCodes) {
		r.d = loadHalf((*[2]byte)(b))
		for i := range 8 {
			r.i[i] = int16(b[highIQ1_S+2*i+1] >> 4 & 7)
		}
		return r
	},
	store: func(b []byte, r subScaleCodes) {
		storeHalf((*[2]byte)(b), r.d)
		for i := range 8 {
			at := highIQ1_S + 2*i + 1
			b[at] = b[at]&0x8f | uint8(r.i[i])<<4
		}
	},
}

var scalesOfIQ1_M = subScales{
	subScaleLevels: subScaleLevels{0, 7, 2, 1, 0.5}, n: 16,
	load: func(b []byte) (r subScaleCodes) {
		r.d = scaleIQ1_M((*[bytesIQ1_M]byte)(b))
		for i := range 16 {
			r.i[i] = int16(binary.LittleEndian.Uint16(b[scalesIQ1_M+i/4*2:]) >> (3 * (i % 4)) & 7)
		}
		return r
	},
	store: func(b []byte, r subScaleCodes) {
		var packed [4]uint16
		for i, s := range r.i {
			packed[i/4] |= uint16(s) << (3 * (i % 4))
		}
		for i, v := range packed {
			binary.LittleEndian.PutUint16(b[scalesIQ1_M+2*i:], v)
		}
		putScaleIQ1_M((*[bytesIQ1_M]byte)(b), r.d)
	},
}

func unpackQ1_0(codes *[weightsK]uint8, b []byte) {
	for i := range weightsQ1_0 {
		codes[i] = b[2+i/8] >> (i % 8) & 1
	}
}

func packQ1_0(b []byte, codes *[weightsK]uint8) {
	clear(b[2:])
	for i, l := range codes[:weightsQ1_0] {
		b[2+i/8] |= l << (i % 8)
	}
}

func unpackQ2_0(codes *[weightsK]uint8, b []byte) {
	for i := range weightsQ2_0 {
		codes[i] = b[2+i/4] >> (2 * (i % 4)) & 3
	}
}

func packQ2_0(b []byte, codes *[weightsK]uint8) {
	clear(b[2:])
	for i, l := range codes[:weightsQ2_0] {
		b[2+i/4] |= l << (2 * (i % 4))
	}
}

// valuesE2M1 are the values of halvesE2M1 in order; ranksE2M1 and codeOfE2M1 convert between code and rank. Zero has
// two codes; the one without a sign is written.
var (
	valuesE2M1 = []float32{-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12}
	codeOfE2M1 = []uint8{15, 14, 13, 12, 11, 10, 9, 0, 1, 2, 3, 4, 5, 6, 7}
	ranksE2M1  = [256]uint8{7, 8, 9, 10, 11, 12, 13, 14, 7, 6, 5, 4, 3, 2, 1, 0}
)

// layoutMXFP4 has a power of two as its scale.
func layoutMXFP4() layout {
	return layout{
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

func layoutNVFP4() layout {
	return layout{
		group: 16,
		load: func(b []byte, g *blockScales) {
			for i, s := range b[:groupsNVFP4] {
				g.scale[i], g.offset[i] = scalesNVFP4[s], 0
			}
		},
		store: func(b []byte, g *blockScales) {
			for i := range groupsNVFP4 {
				if scalesNVFP4[b[i]] != g.scale[i] {
					b[i] = scaleNVFP4(2 * g.scale[i])
				}
			}
		},
	}
}

func unpackNVFP4(codes *[weightsK]uint8, b []byte) {
	for i := range groupsNVFP4 {
		q := load8(b[groupsNVFP4+8*i:])
		store8(codes[16*i:], q&eachLow4)
		store8(codes[16*i+8:], q>>4&eachLow4)
	}
}

func packNVFP4(b []byte, codes *[weightsK]uint8) {
	for i := range groupsNVFP4 {
		for j := range 8 {
			b[groupsNVFP4+8*i+j] = codes[16*i+j] | codes[16*i+j+8]<<4
		}
	}
}
