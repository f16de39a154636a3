package quant

import (
	"bytes"
	"testing"

	"github.com/peftconv/peftconv/gguf"
)

// TOY is a block format of this file alone, which shows all that a new one needs: 16 weights d·(q-8), the half
// precision d, then 8 bytes, of which byte i holds the codes of weights i (low bits) and i+8. All tests of every type
// include it.
const (
	toy        = gguf.Type(200)
	weightsToy = 16
	bytesToy   = 10
)

func init() {
	gguf.RegisterType(toy, "TOY", weightsToy, bytesToy)
	register(toy, format{
		weights: weightsToy, bytes: bytesToy, nonFinite: halfScales(weightsToy, bytesToy, 0),
		dequantize: dequantizeToy, quantize: quantizeToy,
		layout: oneScale(weightsToy, 0).with(-8, 16, unpackToy, packToy),
	})
	tolerances[toy] = 0.1
}

func dequantizeToy(dst []float32, src []byte) {
	var codes [weightsK]uint8
	for ; len(dst) > 0; dst, src = dst[weightsToy:], src[bytesToy:] {
		unpackToy(&codes, src)
		d := loadHalf((*[2]byte)(src))
		for i, q := range codes[:weightsToy] {
			dst[i] = d * lessEight[q]
		}
	}
}

func quantizeToy(dst []byte, src []float32) {
	var codes [weightsK]uint8
	for ; len(src) > 0; src, dst = src[weightsToy:], dst[bytesToy:] {
		d := peak(src[:weightsToy]) / -8
		inverse := inverseOf(storeHalf((*[2]byte)(dst), d))
		for i, v := range src[:weightsToy] {
			codes[i] = roundedCode(float32(v*inverse)+8.5, 15)
		}
		packToy(dst, &codes)
	}
}

func unpackToy(codes *[weightsK]uint8, b []byte) {
	for i, q := range b[2:bytesToy] {
		codes[i], codes[i+8] = q&15, q>>4
	}
}

func packToy(b []byte, codes *[weightsK]uint8) {
	for i := range 8 {
		b[2+i] = codes[i] | codes[i+8]<<4
	}
}

// TestRegisteredFormat quantizes, dequantizes and requantizes blocks of a type that only this file knows.
func TestRegisteredFormat(t *testing.T) {
	if typ, err := gguf.ParseType("toy"); err != nil || typ != toy || !Supported(toy) || !HasIntegerCodes(toy) {
		t.Fatalf("TOY is %v (%v)", typ, err)
	}
	x := make([]float32, weightsToy)
	for i := range x {
		x[i] = float32(i-8) / 4
	}
	m, err := NewMatrix(toy, 1, weightsToy, make([]byte, bytesToy))
	if err != nil {
		t.Fatal(err)
	}
	Quantize(toy, m.Data, x, m.Cols, nil)
	check := func(what string, data []byte, want func(i int) float32) {
		t.Helper()
		got := make([]float32, weightsToy)
		Dequantize(toy, got, data)
		for i, v := range got {
			if v != want(i) {
				t.Errorf("%s: weight %d is %v, expected %v", what, i, v, want(i))
			}
		}
	}
	check("quantized", m.Data, func(i int) float32 { return x[i] })
	check("scaled", rescaled(m, []float32{0.5}, []float32{0}), func(i int) float32 { return 2 * x[i] })
	data := bytes.Clone(m.Data)
	SetCodes(toy, data, m.Data, []float32{3: 0.3, 15: 9}, Rounding{})
	check("recoded", data, func(i int) float32 { return x[i] + map[int]float32{3: 0.25}[i] })
}
