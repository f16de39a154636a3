package quant

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
)

// quantized makes a matrix of random weights.
func quantized(t testing.TB, typ gguf.Type, rows, cols int) Matrix {
	t.Helper()
	data := make([]byte, rows*cols/typ.BlockLen()*typ.BlockSize())
	Quantize(typ, data, normalWeights(rows*cols, 5), cols, ones(cols))
	m, err := NewMatrix(typ, rows, cols, data)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// everyType runs f once for each supported type.
func everyType(t *testing.T, f func(t *testing.T, typ gguf.Type)) {
	for _, typ := range supportedTypes() {
		t.Run(typ.String(), func(t *testing.T) { f(t, typ) })
	}
}

func TestFormatsAgreeWithContainer(t *testing.T) {
	everyType(t, func(t *testing.T, typ gguf.Type) {
		if f := formats[typ]; f.weights != typ.BlockLen() || f.bytes != typ.BlockSize() {
			t.Errorf("%d weights in %d bytes, gguf says %d in %d", f.weights, f.bytes, typ.BlockLen(), typ.BlockSize())
		}
	})
}

func TestNewMatrixRefuses(t *testing.T) {
	for _, c := range []struct {
		name       string
		typ        gguf.Type
		rows, cols int
		bytes      int
		want       string
	}{
		{"integers", gguf.I32, 1, 4, 16, "I32"},
		{"unknown type", 99, 1, 4, 16, "type 99"},
		{"negative rows", gguf.F32, -1, 4, 0, "-1 rows"},
		{"no columns", gguf.F32, 1, 0, 0, "0 columns"},
		{"part of a block", gguf.Q4_K, 1, 128, 72, "multiple of its block length 256"},
		{"short", gguf.Q8_0, 2, 32, 67, "found 67 bytes"},
		{"long", gguf.Q8_0, 2, 32, 69, "found 69 bytes"},
		{"a row too many", gguf.Q8_0, 3, 32, 68, "found 68 bytes"},
		{"bytes but no rows", gguf.Q8_0, 0, 32, 34, "found 34 bytes"},
		{"overflow of a row", gguf.F32, 1, math.MaxInt/2 + 1, 0, "found 0 bytes"},
		{"overflow of all", gguf.F32, math.MaxInt/4 + 1, 4, 0, "found 0 bytes"},
	} {
		_, err := NewMatrix(c.typ, c.rows, c.cols, make([]byte, c.bytes))
		if errors.Is(err, errors.ErrUnsupported) == Supported(c.typ) {
			t.Errorf("%v of a type that is supported: %v", err, Supported(c.typ))
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		}
	}
	if m, err := NewMatrix(gguf.Q8_0, 0, 32, nil); err != nil || m.Rows != 0 {
		t.Errorf("matrix without rows: %v", err)
	}
}

func TestRowAndSlice(t *testing.T) {
	everyType(t, func(t *testing.T, typ gguf.Type) {
		const rows, cols = 5, 512
		m := quantized(t, typ, rows, cols)
		all := make([]float32, rows*cols)
		Dequantize(typ, all, m.Data)
		s := m.Slice(1, 4)
		if r, c := s.Dims(); r != 3 || c != cols {
			t.Fatalf("slice of %d × %d, want 3 × %d", r, c, cols)
		}
		row := make([]float32, cols)
		for r := range 3 {
			s.Row(row, r)
			if !equalBits(row, all[(r+1)*cols:(r+2)*cols]) {
				t.Errorf("row %d of the slice is not row %d", r, r+1)
			}
		}
	})
}

func TestTile(t *testing.T) {
	everyType(t, func(t *testing.T, typ gguf.Type) {
		rows, cols := 6, 1024
		if typ.BlockLen() <= 128 {
			cols = 1024 + 128 // ends in the middle of 256
		}
		m := quantized(t, typ, rows, cols)
		all := make([]float32, rows*cols)
		Dequantize(typ, all, m.Data)
		r := rand.New(rand.NewPCG(7, uint64(typ)))
		for range 100 {
			r0, c0 := r.IntN(rows), 256*r.IntN((cols+255)/256)
			r1, c1 := r0+r.IntN(rows-r0+1), min(c0+256*r.IntN(5), cols)
			checkTile(t, m, all, c1-c0+r.IntN(9), r0, r1, c0, c1)
		}
	})
}

// checkTile compares a tile with the rows, and that nothing beside it was written.
func checkTile(t *testing.T, m Matrix, all []float32, ld, r0, r1, c0, c1 int) {
	t.Helper()
	const guard = 12345
	dst := make([]float32, (r1-r0)*ld+3)
	for i := range dst {
		dst[i] = guard
	}
	m.Tile(dst, ld, r0, r1, c0, c1)
	for i, got := range dst {
		want := float32(guard)
		if ld > 0 && i/ld < r1-r0 && i%ld < c1-c0 {
			want = all[(r0+i/ld)*m.Cols+c0+i%ld]
		}
		if math.Float32bits(got) != math.Float32bits(want) {
			t.Fatalf("rows %d to %d, columns %d to %d, stride %d: element %d is %v, want %v", r0, r1, c0, c1, ld, i, got, want)
		}
	}
}

// The last row of a tile needs no room for the stride.
func TestTileFitsExactly(t *testing.T) {
	m := quantized(t, gguf.Q8_0, 3, 512)
	dst := make([]float32, 2*600+256)
	m.Tile(dst, 600, 0, 3, 256, 512)
}

func TestMisusePanics(t *testing.T) {
	m := quantized(t, gguf.Q4_0, 2, 512)
	var block [18]byte
	var x [64]float32
	for name, f := range map[string]func(){
		"row of another length":        func() { m.Row(x[:], 0) },
		"row outside":                  func() { m.Row(make([]float32, 512), 2) },
		"slice outside":                func() { m.Slice(1, 3) },
		"tile of a part of a block":    func() { m.Tile(x[:], 64, 0, 1, 16, 48) },
		"tile outside":                 func() { m.Tile(x[:], 64, 0, 1, 512, 544) },
		"tile with overlapping rows":   func() { m.Tile(x[:], 16, 0, 2, 0, 32) },
		"tile into too little":         func() { m.Tile(x[:], 64, 0, 2, 0, 64) },
		"dequantize part of a block":   func() { Dequantize(gguf.Q4_0, x[:16], block[:]) },
		"dequantize too few blocks":    func() { Dequantize(gguf.Q4_0, x[:], block[:]) },
		"dequantize integers":          func() { Dequantize(gguf.I8, x[:], block[:]) },
		"quantize part of a block":     func() { Quantize(gguf.Q4_0, block[:], x[:32], 16, nil) },
		"quantize part of a row":       func() { Quantize(gguf.Q4_0, block[:], x[:32], 64, nil) },
		"quantize into less":           func() { Quantize(gguf.Q4_0, block[:], x[:], 32, nil) },
		"importance of another length": func() { Quantize(gguf.Q4_0, block[:], x[:32], 32, x[:]) },
	} {
		if !panics(f) {
			t.Errorf("%s did not panic", name)
		}
	}
}

func panics(f func()) (panicked bool) {
	defer func() { panicked = recover() != nil }()
	f()
	return false
}

func equalBits(a, b []float32) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return false
		}
	}
	return true
}

// FirstNonFinite gives the result of checking every weight, whatever the bytes.
func TestFirstNonFinite(t *testing.T) {
	everyType(t, func(t *testing.T, typ gguf.Type) {
		r := rand.New(rand.NewPCG(9, uint64(typ)))
		const rows, cols = 3, 512
		whole := quantized(t, typ, rows, cols)
		found := 0
		for range 200 {
			m := whole
			m.Data = bytes.Clone(whole.Data)
			for range r.IntN(2) * (1 + r.IntN(3)) {
				block := typ.BlockSize() * r.IntN(len(m.Data)/typ.BlockSize())
				m.Data[block+min(r.IntN(4), typ.BlockSize()-1)] = 0x7e
				m.Data[block+typ.BlockSize()-1-r.IntN(min(4, typ.BlockSize()))] = 0xff
			}
			all := make([]float32, rows*cols)
			Dequantize(typ, all, m.Data)
			want := firstNonFinite(all)
			row, col, ok := m.FirstNonFinite()
			if i := (row*cols + col) / 32 * typ.BlockSize(); typ == gguf.MXFP4 && ok && m.Data[i] == 255 {
				continue
			}
			if ok != (want >= 0) || ok && row*cols+col != want {
				t.Fatalf("got row %d, column %d, %v; want weight %d of rows of %d", row, col, ok, want, cols)
			}
			if ok {
				found++
			}
		}
		if found == 0 && canBeNonFinite(typ) {
			t.Error("none of the matrices had such a weight")
		}
	})
}

func firstNonFinite(x []float32) int {
	for i, f := range x {
		if f-f != 0 {
			return i
		}
	}
	return -1
}

// canBeNonFinite says whether bytes as TestFirstNonFinite makes them are NaN or infinite. Those of NVFP4 never are, and
// MXFP4 has a test of its own.
func canBeNonFinite(typ gguf.Type) bool { return typ != gguf.NVFP4 && typ != gguf.MXFP4 }

// The scale byte 255 of MXFP4 is NaN, though the arithmetic of dequantizing makes other numbers of it; those just below
// overflow with some codes.
func TestFirstNonFiniteOfMXFP4(t *testing.T) {
	data := make([]byte, 3*17)
	data[17+10], data[34+10] = 0x77, 0x70 // weights 9 and 25 of blocks 1 and 2 are as large as can be; 9 of block 2 is 0
	m, err := NewMatrix(gguf.MXFP4, 3, 32, data)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		scales   [3]byte
		row, col int
		ok       bool
	}{
		{[3]byte{251, 251, 251}, 0, 0, false},
		{[3]byte{255, 252, 252}, 0, 0, true},
		{[3]byte{251, 254, 255}, 1, 9, true},
		{[3]byte{254, 251, 254}, 2, 25, true},
		{[3]byte{0, 0, 255}, 2, 0, true},
	} {
		data[0], data[17], data[34] = c.scales[0], c.scales[1], c.scales[2]
		if row, col, ok := m.FirstNonFinite(); row != c.row || col != c.col || ok != c.ok {
			t.Errorf("scales %v: got %d, %d, %v; want %d, %d, %v", c.scales, row, col, ok, c.row, c.col, c.ok)
		}
	}
}

func TestFirstNonFiniteOfFloats(t *testing.T) {
	for _, typ := range []gguf.Type{gguf.F32, gguf.F16, gguf.BF16} {
		for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			for n := 1; n < 20; n++ {
				for at := range n {
					x := make([]float32, n)
					x[at] = float32(bad)
					data := make([]byte, n*typ.BlockSize())
					Quantize(typ, data, x, n, nil)
					m, err := NewMatrix(typ, 1, n, data)
					if err != nil {
						t.Fatal(err)
					}
					if _, col, ok := m.FirstNonFinite(); !ok || col != at {
						t.Fatalf("%v: %v at %d of %d: found %v at %d", typ, bad, at, n, ok, col)
					}
				}
			}
		}
	}
}

func TestQuantized(t *testing.T) {
	for typ, want := range map[gguf.Type]bool{
		gguf.F32: false, gguf.F16: false, gguf.BF16: false, gguf.I8: false, gguf.Q8_0: true, gguf.Q4_K: true,
		gguf.IQ1_S: true, gguf.MXFP4: true, gguf.TQ2_0: true,
	} {
		if got := Quantized(typ); got != want {
			t.Errorf("%v: %v, want %v", typ, got, want)
		}
	}
}
