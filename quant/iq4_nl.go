package quant

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// IQ4_NL is 32 weights d·value: the half precision d, then 16 bytes of codes as in Q4_0.
const (
	weightsIQ4_NL = 32
	bytesIQ4_NL   = 18
)

func init() {
	register(gguf.IQ4_NL, format{
		weights: weightsIQ4_NL, bytes: bytesIQ4_NL, nonFinite: halfScales(weightsIQ4_NL, bytesIQ4_NL, 0),
		dequantize: dequantizeIQ4_NL, quantize: quantizeIQ4_NL, quantizeWeighted: quantizeWeightedIQ4_NL,
		layout: oneScale(32, 0).uneven(valuesIQ4[:16], nibblesFrom(2), nibblesTo(2)),
	})
}

func dequantizeIQ4_NL(dst []float32, src []byte) {
	done := kernels.Dequantize(kernels.IQ4_NL, dst, src)
	dst, src = dst[done:], src[done/weightsIQ4_NL*bytesIQ4_NL:]
	var codes [weightsIQ4_NL]uint8
	for len(dst) >= weightsIQ4_NL && len(src) >= bytesIQ4_NL {
		unpackNibbles(&codes, (*[16]byte)(src[2:]))
		scaleCodes((*[32]float32)(dst), &codes, loadHalf((*[2]byte)(src)), &valuesIQ4)
		dst, src = dst[weightsIQ4_NL:], src[bytesIQ4_NL:]
	}
}

func quantizeIQ4_NL(dst []byte, src []float32) {
	if haveLanes() {
		lanesIQ4_NL(dst, src, nil)
		return
	}
	for len(src) >= weightsIQ4_NL && len(dst) >= bytesIQ4_NL {
		blockIQ4_NL((*[bytesIQ4_NL]byte)(dst), (*[weightsIQ4_NL]float32)(src), nil)
		src, dst = src[weightsIQ4_NL:], dst[bytesIQ4_NL:]
	}
}

func quantizeWeightedIQ4_NL(dst []byte, row, importance []float32) {
	if haveLanes() {
		lanesIQ4_NL(dst, row, importance)
		return
	}
	for len(row) >= weightsIQ4_NL && len(dst) >= bytesIQ4_NL {
		blockIQ4_NL((*[bytesIQ4_NL]byte)(dst), (*[weightsIQ4_NL]float32)(row), importance[:weightsIQ4_NL])
		row, importance, dst = row[weightsIQ4_NL:], importance[weightsIQ4_NL:], dst[bytesIQ4_NL:]
	}
}

// spreadIQ4_NL is what is added to the square of each weight of a block.
func spreadIQ4_NL(x []float32) float32 { return float32(sumSquares(x) * (2. / weightsIQ4_NL)) }

// blockIQ4_NL quantizes one block; importance may be nil.
func blockIQ4_NL(b *[bytesIQ4_NL]byte, x *[weightsIQ4_NL]float32, importance []float32) {
	var w [weightsIQ4_NL]float32
	var codes [weightsIQ4_NL]uint8
	weightsIQ4(&w, x, importance, spreadIQ4_NL(x[:]))
	d := signOfMadeNaN(fitIQ4(x, &w), x[:])
	codesIQ4(codes[:], x[:], []float32{inverseOf(d)})
	packIQ4_NL(b, &codes, d)
}

func packIQ4_NL(b *[bytesIQ4_NL]byte, codes *[weightsIQ4_NL]uint8, d float32) {
	storeHalf((*[2]byte)(b[:]), d)
	packNibbles((*[16]byte)(b[2:]), codes)
}

// lanesIQ4_NL quantizes blocks in lanes; importance may be nil.
func lanesIQ4_NL(dst []byte, row, importance []float32) {
	l := newLanesIQ4()
	defer laneSearches.Put(l)
	for len(row) >= weightsIQ4_NL {
		n := min(kernels.GroupLanes(), len(row)/weightsIQ4_NL)
		x := row[:n*weightsIQ4_NL]
		if importance == nil {
			l.fit(x, nil, weightsIQ4_NL, (*kernels.Groups).WeighSquares)
		} else {
			for i := 0; i < len(x); i += weightsIQ4_NL {
				b := x[i:][:weightsIQ4_NL]
				kernels.ErrorWeights(l.w[i:][:weightsIQ4_NL], b, importance[i:][:weightsIQ4_NL], spreadIQ4_NL(b))
			}
			l.fit(x, l.w[:len(x)], weightsIQ4_NL, nil)
		}
		l.blocksIQ4_NL(dst, x, importance, n)
		row, dst = row[len(x):], dst[n*bytesIQ4_NL:]
		if importance != nil {
			importance = importance[len(x):]
		}
	}
}

// blocksIQ4_NL writes n blocks that have been searched.
func (l *laneSearch) blocksIQ4_NL(dst []byte, x, importance []float32, n int) {
	for i, d := range l.scale[:n] {
		l.inverse[i] = inverseOf(d)
	}
	codesIQ4(l.codes[:len(x)], x, l.inverse[:n])
	for i, d := range l.scale[:n] {
		b, at := (*[bytesIQ4_NL]byte)(dst[i*bytesIQ4_NL:]), i*weightsIQ4_NL
		switch {
		case l.skipped>>i&1 == 0:
			packIQ4_NL(b, (*[weightsIQ4_NL]uint8)(l.codes[at:]), d)
		case importance == nil:
			blockIQ4_NL(b, (*[weightsIQ4_NL]float32)(x[at:]), nil)
		default:
			blockIQ4_NL(b, (*[weightsIQ4_NL]float32)(x[at:]), importance[at:][:weightsIQ4_NL])
		}
	}
}
