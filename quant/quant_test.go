package quant

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/peftconv/peftconv/gguf"
)

// Relative root mean square errors of normally distributed weights; a format that does worse is broken.
var tolerances = map[gguf.Type]float64{
	gguf.F32: 0, gguf.F16: 3e-4, gguf.BF16: 3e-3,
	gguf.Q4_0: 0.11, gguf.Q4_1: 0.09, gguf.Q5_0: 0.055, gguf.Q5_1: 0.045, gguf.Q8_0: 0.007,
	gguf.Q2_K: 0.35, gguf.Q3_K: 0.2, gguf.Q4_K: 0.08, gguf.Q5_K: 0.045, gguf.Q6_K: 0.025,
	gguf.IQ1_S: 0.65, gguf.IQ1_M: 0.6, gguf.IQ2_XXS: 0.45, gguf.IQ2_XS: 0.4, gguf.IQ2_S: 0.4, gguf.IQ3_XXS: 0.25,
	gguf.IQ3_S: 0.2, gguf.IQ4_NL: 0.09, gguf.IQ4_XS: 0.09, gguf.TQ1_0: 1,
	gguf.TQ2_0: 1, gguf.MXFP4: 0.14, gguf.NVFP4: 0.12, gguf.Q1_0: 0.65, gguf.Q2_0: 1,
}

// requantize is x through blocks of the type and back.
func requantize(typ gguf.Type, x []float32, cols int, importance []float32) []float32 {
	if importance == nil && NeedsImportance(typ) {
		importance = ones(cols)
	}
	data := make([]byte, len(x)/typ.BlockLen()*typ.BlockSize())
	Quantize(typ, data, x, cols, importance)
	y := make([]float32, len(x))
	Dequantize(typ, y, data)
	return y
}

// relativeError is ‖y-x‖/‖x‖ over the columns that has says, all when nil.
func relativeError(x, y []float32, cols int, has func(col int) bool) float64 {
	var diff, norm float64
	for i := range x {
		if has != nil && !has(i%cols) {
			continue
		}
		d := float64(y[i] - x[i])
		diff += d * d
		norm += float64(x[i]) * float64(x[i])
	}
	return math.Sqrt(diff / norm)
}

func TestRoundTripError(t *testing.T) {
	everyType(t, func(t *testing.T, typ gguf.Type) {
		const cols = 1024
		x := normalWeights(16*cols, 11)
		tolerance, ok := tolerances[typ]
		if !ok {
			t.Fatal("no tolerance is given")
		}
		if e := relativeError(x, requantize(typ, x, cols, nil), cols, nil); e > tolerance {
			t.Errorf("plain: relative error %.4f, want at most %g", e, tolerance)
		}
		if e := relativeError(x, requantize(typ, x, cols, ones(cols)), cols, nil); e > tolerance {
			t.Errorf("with equal importance: relative error %.4f, want at most %g", e, tolerance)
		}
	})
}

// Columns of a hundred times the importance have smaller errors.
func TestImportance(t *testing.T) {
	everyType(t, func(t *testing.T, typ gguf.Type) {
		if formats[typ].quantizeWeighted == nil {
			t.Skip("ignores importance")
		}
		const cols = 1024
		x := normalWeights(16*cols, 12)
		important := func(col int) bool { return col%8 == 3 }
		importance := ones(cols)
		for i := range importance {
			if important(i) {
				importance[i] = 100
			}
		}
		plain := relativeError(x, requantize(typ, x, cols, ones(cols)), cols, important)
		weighted := relativeError(x, requantize(typ, x, cols, importance), cols, important)
		if weighted > 0.97*plain {
			t.Errorf("error of the important columns %.4f, with equal importance %.4f", weighted, plain)
		}
	})
}

func TestRowsAreIndependent(t *testing.T) {
	everyType(t, func(t *testing.T, typ gguf.Type) {
		const rows, cols = 4, 512
		x := normalWeights(rows*cols, 13)
		for i := range cols {
			x[2*cols+i] *= 1000
		}
		importance := normalWeights(cols, 14)
		for i, f := range importance {
			importance[i] = f * f
		}
		size := cols / typ.BlockLen() * typ.BlockSize()
		together, alone := make([]byte, rows*size), make([]byte, size)
		for _, imp := range [][]float32{importance, nil} {
			if imp == nil && NeedsImportance(typ) {
				continue
			}
			Quantize(typ, together, x, cols, imp)
			for r := range rows {
				Quantize(typ, alone, x[r*cols:(r+1)*cols], cols, imp)
				if !bytes.Equal(alone, together[r*size:(r+1)*size]) {
					t.Errorf("importance %v: row %d alone differs", imp != nil, r)
				}
			}
		}
	})
}

func TestZeros(t *testing.T) {
	everyType(t, func(t *testing.T, typ gguf.Type) {
		for i, f := range requantize(typ, make([]float32, 512), 512, nil) {
			if f != 0 {
				t.Fatalf("weight %d of a row of zeros became %v", i, f)
			}
		}
		for i, f := range requantize(typ, make([]float32, 512), 512, ones(512)) {
			if f != 0 {
				t.Fatalf("with importance: weight %d of a row of zeros became %v", i, f)
			}
		}
	})
}

// Weights and importance that are NaN, infinite or extreme: no result is right, but it is always the same.
func TestExtremeWeights(t *testing.T) {
	extreme := []float32{
		0, float32(math.Copysign(0, -1)), float32(math.NaN()), math.Float32frombits(0xff800001),
		math.Float32frombits(0x7fffffff), float32(math.Inf(1)), float32(math.Inf(-1)),
		math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, 1e-40, 1e-16, 1, -1e30,
	}
	everyType(t, func(t *testing.T, typ gguf.Type) {
		const cols = 256
		r := rand.New(rand.NewPCG(15, uint64(typ)))
		size := cols / typ.BlockLen() * typ.BlockSize()
		first, second := make([]byte, size), make([]byte, size)
		for trial := range 100 {
			x, importance := normalWeights(cols, uint64(trial)), ones(cols)
			for range 1 + r.IntN(40) {
				x[r.IntN(cols)] = extreme[r.IntN(len(extreme))]
			}
			if trial%2 == 0 {
				importance[r.IntN(cols)] = extreme[r.IntN(len(extreme))]
				clear(importance[:r.IntN(cols)])
			}
			Quantize(typ, first, x, cols, importance)
			Quantize(typ, second, x, cols, importance)
			if !bytes.Equal(first, second) {
				t.Fatalf("trial %d: two runs differ", trial)
			}
			if !NeedsImportance(typ) {
				Quantize(typ, first, x, cols, nil)
			}
		}
	})
}

// Types whose blocks survive being dequantized and quantized again.
func TestIdempotent(t *testing.T) {
	for _, typ := range []gguf.Type{gguf.F32, gguf.F16, gguf.BF16, gguf.Q4_0, gguf.Q5_0, gguf.Q8_0, gguf.Q6_K} {
		const cols = 1024
		x := normalWeights(8*cols, 16)
		once := requantize(typ, x, cols, nil)
		if twice := requantize(typ, once, cols, nil); relativeError(once, twice, cols, nil) > 1e-6 {
			t.Errorf("%v: the second time changed the weights by %g", typ, relativeError(once, twice, cols, nil))
		}
	}
}

func TestSupported(t *testing.T) {
	for typ, want := range map[gguf.Type]bool{
		gguf.F32: true, gguf.Q4_K: true, gguf.Q8_1: false, gguf.Q8_K: false,
		gguf.I32: false, gguf.F64: false, 4: false, 43: false, 1 << 31: false,
	} {
		if got := Supported(typ); got != want {
			t.Errorf("Supported(%v) = %v, want %v", typ, got, want)
		}
	}
}

// FuzzBlocks dequantizes any bytes as every type, and quantizes any floats.
func FuzzBlocks(f *testing.F) {
	for _, typ := range supportedTypes() {
		f.Add(uint32(typ), quantized(f, typ, 1, 256).Data)
	}
	f.Fuzz(func(t *testing.T, id uint32, data []byte) {
		typ := gguf.Type(id)
		if !Supported(typ) {
			return
		}
		blocks := len(data) / typ.BlockSize()
		y := make([]float32, blocks*typ.BlockLen())
		if len(y) == 0 {
			return
		}
		m, err := NewMatrix(typ, 1, len(y), data[:blocks*typ.BlockSize()])
		if err != nil {
			t.Fatal(err)
		}
		m.Row(y, 0)
		if _, col, ok := m.FirstNonFinite(); (ok && y[col]-y[col] == 0 || ok != (firstNonFinite(y) >= 0)) &&
			typ != gguf.MXFP4 {
			t.Errorf("FirstNonFinite says %v, %d; the first such weight is %d", ok, col, firstNonFinite(y))
		}
		requantize(typ, y, len(y), nil)
		x := floats(data[:len(data)/4*4])
		if n := len(x) / typ.BlockLen() * typ.BlockLen(); n > 0 {
			requantize(typ, x[:n], n, x[:n])
		}
	})
}
