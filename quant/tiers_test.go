package quant

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// eachTier runs f on every tier of this processor.
func eachTier(t *testing.T, f func(t *testing.T)) {
	was := kernels.Tier()
	t.Cleanup(func() { kernels.UseTier(was) })
	for _, tier := range kernels.Tiers() {
		kernels.UseTier(tier)
		t.Run(tier, f)
	}
}

// onTier is what f makes on a tier.
func onTier[T any](tier string, f func() T) T {
	defer kernels.UseTier(kernels.UseTier(tier))
	return f()
}

// weightKinds are kinds of weights: functions of their index.
var weightKinds = map[string]func(r *rand.Rand, i int) float32{
	"normal":   func(r *rand.Rand, i int) float32 { return float32(r.NormFloat64() * 0.02) },
	"uniform":  func(r *rand.Rand, i int) float32 { return r.Float32() - 0.5 },
	"positive": func(r *rand.Rand, i int) float32 { return 1 + r.Float32() },
	"negative": func(r *rand.Rand, i int) float32 { return -3 - r.Float32() },
	"sparse": func(r *rand.Rand, i int) float32 {
		if r.IntN(20) > 0 {
			return float32(math.Copysign(0, float64(r.IntN(2))-0.5))
		}
		return float32(r.NormFloat64())
	},
	"step":     func(r *rand.Rand, i int) float32 { return float32(r.IntN(17) - 8) },
	"halves":   func(r *rand.Rand, i int) float32 { return float32(r.IntN(64)-32) / 2 },
	"constant": func(r *rand.Rand, i int) float32 { return float32(i / 32 % 5) },
	"zeros":    func(r *rand.Rand, i int) float32 { return float32(math.Copysign(0, float64(i%3)-1)) },
	"tiny":     func(r *rand.Rand, i int) float32 { return float32(r.NormFloat64() * 1e-15) },
	"denormal": func(r *rand.Rand, i int) float32 { return float32(r.NormFloat64() * 1e-40) },
	"huge":     func(r *rand.Rand, i int) float32 { return float32(r.NormFloat64() * 1e37) },
	"wild":     func(r *rand.Rand, i int) float32 { return float32(r.NormFloat64() * math.Exp(20*r.NormFloat64())) },
	"outliers": func(r *rand.Rand, i int) float32 {
		if r.IntN(100) == 0 {
			return float32(1e6 * r.NormFloat64())
		}
		return float32(r.NormFloat64())
	},
	"near": func(r *rand.Rand, i int) float32 { return 1 + float32(r.IntN(3))*0x1p-23 },
	"not finite": func(r *rand.Rand, i int) float32 {
		switch r.IntN(60) {
		case 0:
			return float32(math.NaN())
		case 1:
			return float32(math.Inf(1))
		case 2:
			return float32(math.Inf(-1))
		}
		return float32(r.NormFloat64())
	},
}

// importanceKinds are the same for importance.
var importanceKinds = map[string]func(r *rand.Rand, i int) float32{
	"none":      nil,
	"equal":     func(r *rand.Rand, i int) float32 { return 1 },
	"random":    func(r *rand.Rand, i int) float32 { return r.Float32() },
	"some zero": func(r *rand.Rand, i int) float32 { return max(0, r.Float32()-0.5) },
	"zero":      func(r *rand.Rand, i int) float32 { return 0 },
	"spread":    func(r *rand.Rand, i int) float32 { return float32(math.Exp(5 * r.NormFloat64())) },
	"negative":  func(r *rand.Rand, i int) float32 { return r.Float32() - 0.3 },
	"not finite": func(r *rand.Rand, i int) float32 {
		if r.IntN(100) == 0 {
			return float32(math.Inf(r.IntN(2)))
		}
		return r.Float32()
	},
}

func generate(n int, seed uint64, kind func(r *rand.Rand, i int) float32) []float32 {
	if kind == nil {
		return nil
	}
	r := rand.New(rand.NewPCG(seed, 77))
	x := make([]float32, n)
	for i := range x {
		x[i] = kind(r, i)
	}
	return x
}

// Quantized bytes are the same on every tier, whatever the weights and their importance.
func TestQuantizeOnEveryTier(t *testing.T) {
	if !haveLanes() {
		t.Skip("there is one way to quantize here")
	}
	everyType(t, func(t *testing.T, typ gguf.Type) {
		cols := 2304 // an odd number of super-blocks
		rows := 2
		if testing.Short() {
			cols, rows = 768, 1
		}
		for weights, kind := range weightKinds {
			for importance, importanceKind := range importanceKinds {
				x := generate(rows*cols, uint64(typ), kind)
				compareQuantized(t, typ, x, cols, generate(cols, uint64(typ)+1, importanceKind),
					weights+" weights, "+importance+" importance")
			}
		}
	})
}

// compareQuantized quantizes x on every tier.
func compareQuantized(t *testing.T, typ gguf.Type, x []float32, cols int, importance []float32, name string) {
	t.Helper()
	if importance == nil && NeedsImportance(typ) {
		return
	}
	quantize := func() []byte {
		b := make([]byte, len(x)/typ.BlockLen()*typ.BlockSize())
		Quantize(typ, b, x, cols, importance)
		return b
	}
	want := onTier("generic", quantize)
	for _, tier := range kernels.Tiers()[1:] {
		got := onTier(tier, quantize)
		if bytes.Equal(got, want) {
			continue
		}
		size := typ.BlockSize()
		for i := 0; i < len(want); i += size {
			if !bytes.Equal(got[i:i+size], want[i:i+size]) {
				t.Fatalf("%s, tier %s: block %d of %d differs\ngot  %x\nwant %x\nof %v", name, tier, i/size, len(want)/size,
					got[i:i+size], want[i:i+size], x[i/size*typ.BlockLen():][:typ.BlockLen()])
			}
		}
	}
}

// FuzzQuantizeOnEveryTier quantizes any floats with any importance.
func FuzzQuantizeOnEveryTier(f *testing.F) {
	for _, typ := range supportedTypes() {
		f.Add(uint32(typ), littleEndianBytes(normalWeights(512, 3)), uint64(0))
		f.Add(uint32(typ), littleEndianBytes(normalWeights(512, 4)), uint64(1))
	}
	f.Fuzz(func(t *testing.T, id uint32, data []byte, seed uint64) {
		typ := gguf.Type(id)
		if !Supported(typ) {
			return
		}
		x := floats(data[:len(data)/4*4])
		n := len(x) / typ.BlockLen() * typ.BlockLen()
		if n == 0 {
			return
		}
		for i, v := range x {
			if v != v {
				x[i] = float32(math.NaN()) // the other kinds of NaN are the platform's
			}
		}
		var importance []float32
		if seed > 0 {
			importance = generate(n, seed, importanceKinds["spread"])
		}
		compareQuantized(t, typ, x[:n], n, importance, "fuzzed")
	})
}

// Dequantized weights are the same on every tier, whatever the bytes, and whatever the number of blocks.
func TestDequantizeOnEveryTier(t *testing.T) {
	everyType(t, func(t *testing.T, typ gguf.Type) {
		r := rand.New(rand.NewPCG(17, uint64(typ)))
		for blocks := range 40 {
			data := make([]byte, blocks*typ.BlockSize())
			for i := range data {
				data[i] = byte(r.Uint32())
			}
			compareDequantized(t, typ, blocks*typ.BlockLen(), data)
		}
		const cols = 2048
		data := make([]byte, cols/typ.BlockLen()*typ.BlockSize())
		Quantize(typ, data, normalWeights(cols, 18), cols, ones(cols))
		compareDequantized(t, typ, cols, data)
	})
}

// compareDequantized dequantizes data to n weights on every tier, between guards.
func compareDequantized(t *testing.T, typ gguf.Type, n int, data []byte) {
	t.Helper()
	const guard = 12345
	dequantize := func() []float32 {
		y := make([]float32, n+2)
		y[0], y[n+1] = guard, guard
		Dequantize(typ, y[1:n+1], data)
		return y
	}
	want := onTier("generic", dequantize)
	for _, tier := range kernels.Tiers()[1:] {
		got := onTier(tier, dequantize)
		for i := range want {
			if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
				t.Fatalf("tier %s: weight %d of %d is %v (%#x), want %v (%#x)", tier, i-1, n,
					got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
			}
		}
	}
}

// FuzzDequantizeOnEveryTier dequantizes any bytes.
func FuzzDequantizeOnEveryTier(f *testing.F) {
	for _, typ := range supportedTypes() {
		f.Add(uint32(typ), quantized(f, typ, 1, 256).Data)
	}
	f.Fuzz(func(t *testing.T, id uint32, data []byte) {
		typ := gguf.Type(id)
		if Supported(typ) {
			compareDequantized(t, typ, len(data)/typ.BlockSize()*typ.BlockLen(), data)
		}
	})
}

// The short floats are rounded alike from any bits, every kind of NaN included, and come back alike from all of theirs.
func TestShortFloatsOnEveryTier(t *testing.T) {
	r := rand.New(rand.NewPCG(19, 20))
	x := make([]float32, 1<<16)
	all := make([]byte, 2*len(x))
	for i := range x {
		x[i] = math.Float32frombits(r.Uint32())
		if i%4 == 0 {
			x[i] = math.Float32frombits(r.Uint32() | 0x7f800000)
		}
		if i%4 == 1 { // about the exponents of half precision, halfway between two of them
			x[i] = math.Float32frombits(uint32(100+r.IntN(45))<<23 | r.Uint32()&0x807fe000 | uint32(r.IntN(3))<<12)
		}
		all[2*i], all[2*i+1] = byte(i), byte(i>>8)
	}
	for _, typ := range []gguf.Type{gguf.F16, gguf.BF16} {
		compareQuantized(t, typ, x, len(x), nil, "any bits")
		compareDequantized(t, typ, len(x), all)
	}
}
