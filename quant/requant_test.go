package quant

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/peftconv/peftconv/gguf"
)

// quantizedRow is a row of blocks of normally distributed weights.
func quantizedRow(typ gguf.Type, cols int, seed uint64) Matrix {
	x := normalWeights(cols, seed)
	data := make([]byte, cols/typ.BlockLen()*typ.BlockSize())
	Quantize(typ, data, x, cols, ones(cols))
	return Matrix{typ, 1, cols, data}
}

// scalesOfRow is the scales and offsets of the one row of m.
func scalesOfRow(m Matrix) (scale, offset []float32) {
	scale, offset = make([]float32, m.Groups()), make([]float32, m.Groups())
	m.Scales(scale, offset, 0)
	return scale, offset
}

// codeValues are the values of the codes of the one row of m.
func codeValues(m Matrix) []float32 {
	f, g := mustLookup(m.Type), layoutOf(m.Type)
	var values []float32
	var codes [weightsK]uint8
	for b := m.Data; len(b) > 0; b = b[f.bytes:] {
		g.unpack(&codes, b[:f.bytes])
		for _, l := range codes[:f.weights] {
			values = append(values, g.values[g.rank(l)])
		}
	}
	return values
}

func TestScalesOfBlocks(t *testing.T) {
	everyType(t, func(t *testing.T, typ gguf.Type) {
		if !HasIntegerCodes(typ) {
			t.Skip("weights have no codes")
		}
		m := quantizedRow(typ, 1024, 21)
		x := make([]float32, m.Cols)
		m.Row(x, 0)
		scale, offset := scalesOfRow(m)
		for i, v := range codeValues(m) {
			if g := i / GroupLen(typ); float32(scale[g]*v)+offset[g] != x[i] {
				t.Fatalf("weight %d is %v, but scale·value + offset is %v·%v + %v", i, x[i], scale[g], v, offset[g])
			}
		}
	})
}

func TestNoChangeIsTheBase(t *testing.T) {
	everyType(t, func(t *testing.T, typ gguf.Type) {
		for name, kind := range weightKinds {
			r := rand.New(rand.NewPCG(1, 2))
			x := make([]float32, 1024)
			for i := range x {
				x[i] = kind(r, i)
			}
			m := Matrix{typ, 1, len(x), make([]byte, len(x)/typ.BlockLen()*typ.BlockSize())}
			if name == "not finite" || name == "huge" {
				for i := range m.Data {
					m.Data[i] = byte(r.Uint32())
				}
			} else {
				Quantize(typ, m.Data, x, len(x), ones(len(x)))
			}
			got := make([]byte, len(m.Data))
			scale, offset := scalesOfRow(m)
			if finiteAll(scale) && finiteAll(offset) {
				if SetScales(typ, got, m.Data, scale, offset); !bytes.Equal(got, m.Data) {
					t.Errorf("%s: SetScales with the scales of the base changes it", name)
				}
			}
			if !HasCodes(typ) {
				continue
			}
			zero := make([]float32, m.Cols)
			for _, round := range []Rounding{{}, {Stochastic: zero}, {Master: x}} {
				if SetCodes(typ, got, m.Data, zero, round); !bytes.Equal(got, m.Data) {
					t.Errorf("%s: SetCodes without a change changes the base", name)
				}
			}
		}
	})
}

func finiteAll(x []float32) bool {
	for _, v := range x {
		if v-v != 0 {
			return false
		}
	}
	return true
}

// rowTolerance is how far off a block type is when all scales of a row move alike: half precision rounds to one in
// 2048, and sub-scales leave a choice.
const rowTolerance = 1e-3

func TestSetScalesOfAWholeRow(t *testing.T) {
	everyType(t, func(t *testing.T, typ gguf.Type) {
		m := quantizedRow(typ, 1024, 22)
		x, y := make([]float32, m.Cols), make([]float32, m.Cols)
		m.Row(x, 0)
		for _, factor := range []float32{0.5, 0.97, 1.003, 1.2, 2} {
			if !HasScales(typ) && factor != 0.5 && factor != 2 {
				continue
			}
			tolerance := rowTolerance
			switch typ {
			case gguf.BF16:
				tolerance = 3e-3
			case gguf.NVFP4:
				tolerance = 0.3 // so small numbers have few steps in E4M3
			case gguf.Q6_K, gguf.IQ4_XS:
				tolerance = 4e-3 // the factor is a small number, which half precision holds with fewer bits
			}
			scale, offset := scalesOfRow(m)
			for i := range scale {
				scale[i] *= factor
				offset[i] *= factor
			}
			Dequantize(typ, y, rescaled(m, scale, offset))
			if e := relativeError(scaled(x, factor), y, len(x), nil); e > tolerance {
				t.Errorf("times %v: relative error %.2g, want at most %g", factor, e, tolerance)
			}
		}
	})
}

func rescaled(m Matrix, scale, offset []float32) []byte {
	dst := make([]byte, len(m.Data))
	SetScales(m.Type, dst, m.Data, scale, offset)
	return dst
}

func scaled(x []float32, factor float32) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = v * factor
	}
	return y
}

// groupTolerances are how much of a change of single groups by a tenth is missed, in types with sub-scales of few bits.
// In others half precision alone rounds.
var groupTolerances = map[gguf.Type]float64{
	gguf.Q2_K: 0.6, gguf.Q3_K: 0.25, gguf.Q4_K: 0.15, gguf.Q5_K: 0.15, gguf.Q6_K: 0.1, gguf.IQ4_XS: 0.25,
	gguf.IQ2_XXS: 0.7, gguf.IQ2_XS: 0.7, gguf.IQ2_S: 0.7,
	gguf.IQ3_XXS: 0.7, gguf.IQ3_S: 0.7, gguf.IQ1_S: 1.3, gguf.IQ1_M: 1.3,
	gguf.NVFP4: 0.8, gguf.BF16: 0.05,
}

func TestSetScalesOfSingleGroups(t *testing.T) {
	everyType(t, func(t *testing.T, typ gguf.Type) {
		if !HasScales(typ) {
			t.Skip("the scale is a power of two")
		}
		m := quantizedRow(typ, 4096, 23)
		x, want, got := make([]float32, m.Cols), make([]float32, m.Cols), make([]float32, m.Cols)
		m.Row(x, 0)
		scale, offset := scalesOfRow(m)
		r := rand.New(rand.NewPCG(3, 4))
		for g := range scale {
			factor := 1 + 0.1*float32(r.NormFloat64())
			shift := float32(0)
			if HasOffsets(typ) {
				shift = 0.1 * scale[g] * float32(r.NormFloat64())
			}
			for i := g * GroupLen(typ); i < (g+1)*GroupLen(typ); i++ {
				want[i] = x[i]*factor + shift
			}
			scale[g] *= factor
			offset[g] = offset[g]*factor + shift
		}
		data := rescaled(m, scale, offset)
		Dequantize(typ, got, data)
		tolerance := groupTolerances[typ]
		if tolerance == 0 {
			tolerance = 0.01
		}
		change, miss := difference(want, x), difference(got, want)
		if e := norm(miss) / norm(change); e > tolerance {
			t.Errorf("misses %.3f of the change, want at most %g", e, tolerance)
		} else {
			t.Logf("misses %.3f of the change", e)
		}
		if HasIntegerCodes(typ) {
			after := codeValues(Matrix{typ, 1, m.Cols, data})
			for i, v := range codeValues(m) {
				if after[i] != v {
					t.Fatalf("code %d has changed from %v to %v", i, v, after[i])
				}
			}
		}
	})
}

func difference(x, y []float32) []float32 {
	d := make([]float32, len(x))
	for i := range x {
		d[i] = x[i] - y[i]
	}
	return d
}

func norm(x []float32) float64 {
	var sum float64
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum)
}

// Each weight gets the code nearest to its new value.
func TestSetCodesIsNearest(t *testing.T) {
	everyType(t, func(t *testing.T, typ gguf.Type) {
		if !HasIntegerCodes(typ) {
			t.Skip("weights have no codes")
		}
		m := quantizedRow(typ, 1024, 24)
		x, got := make([]float32, m.Cols), make([]float32, m.Cols)
		m.Row(x, 0)
		scale, offset := scalesOfRow(m)
		change := normalWeights(m.Cols, 25)
		data := bytes.Clone(m.Data)
		SetCodes(typ, data, data, change, Rounding{})
		Dequantize(typ, got, data)
		values := layoutOf(typ).values
		for i, v := range got {
			g := i / GroupLen(typ)
			least := math.Inf(1)
			for _, value := range values {
				least = min(least, math.Abs(float64(x[i]+change[i])-float64(float32(scale[g]*value)+offset[g])))
			}
			if miss := math.Abs(float64(x[i]+change[i]) - float64(v)); scale[g] != 0 && miss > least*(1+1e-4)+1e-7 {
				t.Fatalf("weight %d should become %v and is %v: %v off, the nearest value is %v off",
					i, x[i]+change[i], v, miss, least)
			}
		}
	})
}

// A change far too small for any single weight shows in the mean of many.
func TestStochasticRoundingKeepsTheMean(t *testing.T) {
	everyType(t, func(t *testing.T, typ gguf.Type) {
		if !HasIntegerCodes(typ) || len(layoutOf(typ).values) < 8 {
			t.Skip("weights have no codes or few, and stop at the ends")
		}
		m := quantizedRow(typ, 1<<16, 26)
		x, got := make([]float32, m.Cols), make([]float32, m.Cols)
		m.Row(x, 0)
		scale, _ := scalesOfRow(m)
		r := rand.New(rand.NewPCG(5, 6))
		change, thresholds := make([]float32, m.Cols), make([]float32, m.Cols)
		for i := range change {
			thresholds[i] = r.Float32()
			change[i] = 0.05 * scale[i/GroupLen(typ)]
			if r.IntN(2) == 0 {
				change[i] = -change[i]
			}
		}
		data := bytes.Clone(m.Data)
		if SetCodes(typ, data, m.Data, change, Rounding{}); !bytes.Equal(data, m.Data) && typ != gguf.Q8_0 {
			t.Errorf("changes of a twentieth of a step changed codes without thresholds")
		}
		SetCodes(typ, data, m.Data, change, Rounding{Stochastic: thresholds})
		Dequantize(typ, got, data)
		var kept, asked float64
		for i, d := range change {
			kept += float64(got[i]-x[i]) * float64(d)
			asked += float64(d) * float64(d)
		}
		if share := kept / asked; math.Abs(share-1) > 0.15 {
			t.Errorf("%.2f of the change is there, want 1", share)
		}
	})
}

// With master weights, small changes change the codes of weights near the edge of their cell.
func TestMasterWeightsChangeCodes(t *testing.T) {
	x := normalWeights(1024, 27)
	m := Matrix{gguf.Q4_0, 1, len(x), make([]byte, len(x)/32*bytesQ4_0)}
	Quantize(m.Type, m.Data, x, len(x), nil)
	scale, _ := scalesOfRow(m)
	change := make([]float32, len(x))
	for i := range change {
		change[i] = 0.1 * absf(scale[i/32])
	}
	data := make([]byte, len(m.Data))
	SetCodes(m.Type, data, m.Data, change, Rounding{Master: x})
	changed := 0
	before, after := codeValues(m), codeValues(Matrix{m.Type, 1, m.Cols, data})
	for i := range before {
		if before[i] != after[i] {
			changed++
		}
	}
	if changed < 50 || changed > 200 {
		t.Errorf("%d of 1024 codes have changed, want about a tenth", changed)
	}
}

func TestFloatsAreExact(t *testing.T) {
	x := normalWeights(40, 28) // not a whole number of groups
	m := Matrix{gguf.F32, 1, len(x), littleEndianBytes(x)}
	if n := m.Groups(); n != 2 {
		t.Fatalf("%d groups, want 2", n)
	}
	data, got := make([]byte, len(m.Data)), make([]float32, len(x))
	SetCodes(gguf.F32, data, m.Data, scaled(x, 0.5), Rounding{})
	Dequantize(gguf.F32, got, data)
	for i := range x {
		if got[i] != x[i]+0.5*x[i] {
			t.Fatalf("weight %d is %v, want %v", i, got[i], 1.5*x[i])
		}
	}
	SetScales(gguf.F32, data, m.Data, []float32{2, 0.5}, []float32{0, 1})
	Dequantize(gguf.F32, got, data)
	if got[3] != 2*x[3] || got[39] != x[39]*0.5+1 {
		t.Errorf("scaled and changed: %v and %v of %v and %v", got[3], got[39], x[3], x[39])
	}
}

// FuzzRequantize requantizes any blocks with any scales: nothing may panic, and codes must stay.
func FuzzRequantize(f *testing.F) {
	for typ := range formats {
		if GroupLen(gguf.Type(typ)) > 0 {
			f.Add(uint8(typ), int64(typ), float32(1.1), float32(0.01))
		}
	}
	f.Fuzz(func(t *testing.T, typ uint8, seed int64, factor, shift float32) {
		kind := gguf.Type(typ)
		if !Supported(kind) || GroupLen(kind) == 0 {
			t.Skip()
		}
		m := Matrix{kind, 1, 256, make([]byte, 256/kind.BlockLen()*kind.BlockSize())}
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		for i := range m.Data {
			m.Data[i] = byte(r.Uint32())
		}
		scale, offset := scalesOfRow(m)
		change := make([]float32, m.Cols)
		for i := range scale {
			scale[i] *= factor
			offset[i] += shift
		}
		for i := range change {
			change[i] = shift * float32(i)
		}
		data := rescaled(m, scale, offset)
		if HasCodes(kind) {
			if HasIntegerCodes(kind) && !slicesEqual(codeValues(m), codeValues(Matrix{kind, 1, m.Cols, data})) {
				t.Error("codes have changed")
			}
			SetCodes(kind, data, data, change, Rounding{})
		}
	})
}

func slicesEqual(x, y []float32) bool {
	for i := range x {
		if x[i] != y[i] {
			return false
		}
	}
	return len(x) == len(y)
}

// TestSetCodesOfBytes compares the codes of Q8_0 with their definition: the nearest whole number from -127 to 127, and
// -128 where a file has it and the weight stays.
func TestSetCodesOfBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 5))
	special := []float32{0, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 3e38, -3e38, 1e-30}
	for round := range 300 {
		base, change, up := make([]byte, 2*bytesQ8_0), make([]float32, 64), make([]float32, 64)
		for i := range base {
			base[i] = byte(r.Uint32())
			if r.IntN(8) == 0 {
				base[i] = 0x80
			}
		}
		for b := range 2 {
			storeHalf((*[2]byte)(base[b*bytesQ8_0:]), float32(r.NormFloat64()))
		}
		for i := range change {
			change[i], up[i] = float32(r.NormFloat64())*float32(round%7), float32(r.IntN(1<<16))/(1<<16)
			if r.IntN(10) == 0 {
				change[i] = special[r.IntN(len(special))]
			}
		}
		for _, rounding := range []Rounding{{}, {Stochastic: up}} {
			got, want := make([]byte, len(base)), bytes.Clone(base)
			for i, d := range change {
				at := i/32*bytesQ8_0 + 2 + i%32
				scale := loadHalf((*[2]byte)(base[i/32*bytesQ8_0:]))
				value, u := max(int(int8(base[at])), -127), float32(0.5)
				if rounding.Stochastic != nil {
					u = up[i]
				}
				f := float32(value) + float32(d*(1/scale)) + u + 127
				to := 254
				if !(f >= 0) {
					to = 0
				} else if f < 255 {
					to = int(f)
				}
				if d != 0 && to-127 != value {
					want[at] = byte(int8(to - 127))
				}
			}
			SetCodes(gguf.Q8_0, got, base, append([]float32(nil), change...), rounding)
			if !bytes.Equal(got, want) {
				t.Fatalf("round %d: got %v, want %v", round, got, want)
			}
		}
	}
}
