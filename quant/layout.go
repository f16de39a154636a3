package quant

import "github.com/peftconv/peftconv/gguf"

// A layout describes how the blocks of a type store scales, offsets and codes.
type layout struct {
	group  int  // weights that share a scale
	affine bool // there are offsets
	shared bool // several groups share a factor, so groups have different weights

	load  func(b []byte, g *blockScales)
	store func(b []byte, g *blockScales) // b holds the base

	storeTogether func(c *changedBlocks) // store of several blocks, where haveEights; nil: there is none

	// Where a block has one scale and no offset, the scales of blocks that are size bytes apart; else nil.
	loadEach  func(scale []float32, b []byte, size int)
	storeEach func(b []byte, size int, scale []float32) // those that stay the same are left

	// The fields below are empty where weights have no codes of their own.
	values []float32   // values of the codes before scaling, ascending
	even   bool        // values are 1 apart
	from   float32     // what a code is counted from where a change is added to it and the sum is rounded
	ranks  *[256]uint8 // rank of a code's value; nil: the code itself
	codes  []uint8     // codes by rank; nil: the rank itself
	unpack unpackCodes
	pack   packCodes
}

// unpackCodes sets the first codes to those of the weights of a block; packCodes is the inverse.
type (
	unpackCodes func(codes *[weightsK]uint8, b []byte)
	packCodes   func(b []byte, codes *[weightsK]uint8)
)

// layoutOf is the layout of a type, or nil.
func layoutOf(t gguf.Type) *layout {
	if f := lookup(t); f != nil {
		return f.layout
	}
	return nil
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
func oneScale(weights, at int) *layout {
	return &layout{
		group: weights,
		load:  func(b []byte, g *blockScales) { g.scale[0], g.offset[0] = loadHalf((*[2]byte)(b[at:])), 0 },
		store: func(b []byte, g *blockScales) { storeHalf((*[2]byte)(b[at:]), clampHalf(g.scale[0])) },
		loadEach: func(scale []float32, b []byte, size int) {
			for i := range scale {
				scale[i] = loadHalf((*[2]byte)(b[i*size+at:]))
			}
		},
		storeEach: func(b []byte, size int, scale []float32) {
			for i, s := range scale {
				if to := (*[2]byte)(b[i*size+at:]); s != loadHalf(to) {
					storeHalf(to, limitHalf(s))
				}
			}
		},
	}
}

// scaleAndMinimum is the layout of blocks of 32 that begin with a half precision scale and offset.
func scaleAndMinimum() *layout {
	return &layout{
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
func (s *subScales) layout() *layout {
	return &layout{group: weightsK / s.n, shared: true, load: s.loadScales, store: s.storeScales,
		storeTogether: s.storeTogether}
}

func (s *affineScales) layout() *layout {
	return &layout{group: weightsK / s.n, shared: true, affine: true, load: s.loadScales, store: s.storeScales,
		storeTogether: s.storeTogether}
}

// with adds codes that stand for whole numbers from first on.
func (g *layout) with(first float32, n int, unpack unpackCodes, pack packCodes) *layout {
	g.values, g.even, g.unpack, g.pack = counted(first, n), true, unpack, pack
	return g
}

// uneven adds codes that stand for the given values.
func (g *layout) uneven(values []float32, unpack unpackCodes, pack packCodes) *layout {
	g.values, g.unpack, g.pack = values, unpack, pack
	return g
}

// byRank sets the order of the codes by value.
func (g *layout) byRank(ranks *[256]uint8, codes []uint8) *layout {
	g.ranks, g.codes = ranks, codes
	return g
}

func nibblesFrom(at int) unpackCodes {
	return func(codes *[weightsK]uint8, b []byte) { unpackNibbles((*[32]uint8)(codes[:]), (*[16]byte)(b[at:])) }
}

func nibblesTo(at int) packCodes {
	return func(b []byte, codes *[weightsK]uint8) { packNibbles((*[16]byte)(b[at:]), (*[32]uint8)(codes[:])) }
}

func fiveBitsFrom(at int) unpackCodes {
	return func(codes *[weightsK]uint8, b []byte) {
		unpackFiveBits((*[32]uint8)(codes[:]), (*[4]byte)(b[at:]), (*[16]byte)(b[at+4:]))
	}
}

func fiveBitsTo(at int) packCodes {
	return func(b []byte, codes *[weightsK]uint8) {
		packFiveBits((*[4]byte)(b[at:]), (*[16]byte)(b[at+4:]), (*[32]uint8)(codes[:]))
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

// highNibbles are eight sub-scales (i + 1/2)·step in the high four bits of bytes that are stride apart.
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
