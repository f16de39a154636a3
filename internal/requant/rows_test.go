package requant

import (
	"bytes"
	"math"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// TestRowsAreRow: the rows of merging have the bytes of the single rows of training, whatever the rounding and the
// number of threads, and a sample of them the same weights.
func TestRowsAreRow(t *testing.T) {
	const rows, cols = 40, 512
	m := changed(t, gguf.Q4_K, rows, cols, 0.1)
	defer kernels.SetThreads(0)
	for name, rounding := range map[string]Rounding{
		"nearest": {Codes: NearestCodes}, "stochastic": {Codes: StochasticCodes, Seed: 7}, "scales": {FitScales: true},
		"both": {FitScales: true, Codes: StochasticCodes, Seed: 7},
		"master": {Codes: NearestCodes, Master: &MasterRows{Ordered: model.Ordered{W: quant.Matrix{
			Type: gguf.F32, Rows: rows, Cols: cols, Data: make([]byte, 4*rows*cols)}}}},
	} {
		q := Requantizer{m.Base, rounding}
		dst, b := make([]byte, len(m.Base.Data)), NewRows(rows*cols)
		kernels.SetThreads(3)
		q.Rows(dst, b, 0, m.Load)
		kernels.SetThreads(1)
		one, s, size := make([]byte, m.Base.RowSize()), new(Scratch), m.Base.RowSize()
		for r := range rows {
			change := append([]float32(nil), b.Change[r*cols:(r+1)*cols]...)
			q.Row(one, r, Change{Weights: change}, s)
			if !bytes.Equal(one, dst[r*size:(r+1)*size]) {
				t.Fatalf("%s: row %d differs", name, r)
			}
		}
		if bytes.Equal(dst, m.Base.Data) {
			t.Errorf("%s: nothing has changed", name)
		}
		sample := q.Sample(4, 2, m.Load)
		for i, v := range sample.New {
			if at := i/(2*cols)*(rows/4)*cols + i%(2*cols); v != b.New[at] {
				t.Fatalf("%s: sampled weight %d is %v, in all rows %v", name, i, v, b.New[at])
			}
		}
	}
}

// TestScalesOfAChange: a row gets the scales of the change, and without any change it keeps its bytes.
func TestScalesOfAChange(t *testing.T) {
	m := changed(t, gguf.Q4_0, 2, 256, 0)
	q, s := Requantizer{Base: m.Base}, new(Scratch)
	dst := make([]byte, m.Base.RowSize())
	if q.Row(dst, 1, Change{}, s); !bytes.Equal(dst, q.BaseRow(1)) {
		t.Error("a row without a change is not that of the base")
	}
	s.Scales(m.Base, 1)
	for g := range s.Scale {
		s.Scale[g] *= 2
	}
	q.Row(dst, 1, Change{Scale: s.Scale, Offset: s.Offset}, s)
	was, is := make([]float32, 256), make([]float32, 256)
	m.Base.Row(was, 1)
	quant.Dequantize(gguf.Q4_0, is, dst)
	for i, v := range is {
		if v != 2*was[i] {
			t.Fatalf("weight %d is %v, expected twice %v", i, v, was[i])
		}
	}
}

// TestFitScalesIsNearest: of changes that are factors of groups and shifts, the fitted scales and zero points have
// nearly all, and importance decides between columns that need different ones.
func TestFitScalesIsNearest(t *testing.T) {
	m := changed(t, gguf.Q4_1, 8, 256, 0)
	load := func(b Rows, r0, r1 int) {
		m.Load(b, r0, r1)
		for i, v := range b.Old {
			b.Change[i] = 0.1*v + 0.05
		}
	}
	q := Requantizer{m.Base, Rounding{FitScales: true}}
	if kept := recovery(q.Sample(4, 2, load)); math.Abs(kept-1) > 0.01 {
		t.Errorf("%.3f of the change is kept", kept)
	}
	torn := func(b Rows, r0, r1 int) {
		m.Load(b, r0, r1)
		for i, v := range b.Old {
			b.Change[i] = 0.1 * v * float32(1-2*(i%2))
		}
	}
	q.Importance = make([]float32, 256)
	for i := range q.Importance {
		q.Importance[i] = float32(1 - i%2)
	}
	b, kept, all := q.Sample(4, 2, torn), 0.0, 0.0
	for i := 0; i < len(b.New); i += 2 {
		kept += float64(b.New[i]-b.Old[i]) * float64(b.Change[i])
		all += float64(b.Change[i]) * float64(b.Change[i])
	}
	if math.Abs(kept/all-1) > 0.05 {
		t.Errorf("%.3f of what is important is kept", kept/all)
	}
}

// TestThresholds: they are uniform and multiples of 2⁻¹⁶, and depend on seed and row.
func TestThresholds(t *testing.T) {
	u, v := make([]float32, 4097), make([]float32, 4097)
	thresholds(u, 1, 5)
	sum := 0.0
	for _, x := range u {
		if sum += float64(x); x < 0 || x >= 1 || x*(1<<16) != float32(int(x*(1<<16))) {
			t.Fatalf("threshold %v", x)
		}
	}
	if mean := sum / float64(len(u)); math.Abs(mean-0.5) > 0.02 {
		t.Errorf("the mean is %v", mean)
	}
	for _, other := range [][2]int{{2, 5}, {1, 6}} {
		thresholds(v, uint64(other[0]), other[1])
		if v[0] == u[0] && v[1] == u[1] {
			t.Errorf("seed %d and row %d have the same as seed 1 and row 5", other[0], other[1])
		}
	}
}
