package requant

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/quant"
)

// TestCompensation: with the gains of a Hessian XᵀX = L·Lᵀ the error of a row, times L, is what rounding has missed at
// each column: no more than half a step under L's diagonal.
func TestCompensation(t *testing.T) {
	const n = 64
	c, err := newCompensation(correlated(n), 0.01)
	if err != nil {
		t.Fatal(err)
	}
	w := quant.Matrix{Type: gguf.Q8_0, Rows: 1, Cols: n, Data: make([]byte, n/32*34)}
	want, half, got := make([]float32, n), make([]float32, n), make([]float32, n)
	prng.NewRandom(1, "weights").Normal(want, 0.1)
	want[0], want[32] = 1, 1 // the steps are 1/127
	quant.Quantize(w.Type, w.Data, want, n, nil)
	for i := range half {
		half[i] = 0.5
	}
	codes := make([]quant.Codes, 1)
	codes[0].Load(w.Type, w.Data)
	want[0], want[32] = 0.9, 0.9 // so that no weight reaches the last code
	c.round(codes, want, half)
	codes[0].Store(w.Data)
	w.Row(got, 0)
	for k := range n {
		sum := float64(want[k] - got[k])
		for i := k + 1; i < n; i++ {
			sum += float64(want[i]-got[i]) * float64(c.gain[i*n+k])
		}
		if math.Abs(sum) > 0.505/127 {
			t.Errorf("column %d misses %.2f steps", k, 127*sum)
		}
	}
}

// correlated is the Hessian of inputs of which neighbours are alike.
func correlated(n int) *Hessian {
	h := NewHessian(n)
	for i := range n {
		for j := range i + 1 {
			h.sum[i*n+j] = 1 / float32(1+i-j)
		}
	}
	return h
}

// changed is a matrix of normal weights, stochastically rounded after its scales, with changes of the given parts of
// them.
func changed(t testing.TB, typ gguf.Type, rows, cols int, share float32) Changed {
	t.Helper()
	x, change := make([]float32, rows*cols), make([]float32, rows*cols)
	prng.NewRandom(1, "weights").Normal(x, 1)
	prng.NewRandom(2, "changes").Normal(change, 1)
	size := cols / typ.BlockLen() * typ.BlockSize()
	w := quant.Matrix{Type: typ, Rows: rows, Cols: cols, Data: make([]byte, rows*size)}
	quant.Quantize(typ, w.Data, x, cols, nil)
	q := &Requantizer{&w, Rounding{FitScales: true, Codes: StochasticCodes, Seed: 3}}
	return Changed{Requantizer: q, Compensate: true, Load: func(b Rows, r0, r1 int) {
		quant.Dequantize(typ, b.Old, w.Slice(r0, r1).Data)
		for i, d := range change[r0*cols : r1*cols] {
			b.Change[i] = share * d
		}
	}}
}

// TestHessianOfOddInputs: inputs that are all zero or all the same are allowed, those that are not finite are
// refused.
func TestHessianOfOddInputs(t *testing.T) {
	const n = 256
	bad, same := correlated(n), NewHessian(n)
	bad.sum[n+1] = float32(math.NaN())
	copy(same.sum, slices.Repeat([]float32{1}, n*n))
	for name, h := range map[string]*Hessian{"zero": NewHessian(n), "all the same": same, "not a number": bad} {
		m, used := changed(t, gguf.Q4_K, 64, n, 0.1), 0
		m.Descend, m.Anew = true, true
		err := h.Choose([]Changed{m}, func(_ int, rounding Rounding) error {
			used++
			q := Requantizer{m.Base, rounding}
			if kept := recovery(q.Sample(4, 16, m.Load)); math.Abs(kept-1) > 0.1 {
				t.Errorf("%s: %.2f of the change is kept", name, kept)
			}
			return nil
		})
		if (err != nil) != (h == bad) || (used == 1) != (h != bad) {
			t.Errorf("%s: used %d times, error %v", name, used, err)
		}
	}
}

// recovery is the share of the change that is there.
func recovery(b Rows) float64 {
	var got, want float64
	for i, d := range b.Change {
		got += float64(b.New[i]-b.Old[i]) * float64(d)
		want += float64(d) * float64(d)
	}
	return got / want
}

// BenchmarkChoose is what a weight of 2048 rows of 2048 or 5632 takes, once its Hessian is there: compensated, by
// descent, and in the way that is best of all.
func BenchmarkChoose(b *testing.B) {
	for _, cols := range []int{2048, 5632} {
		m := changed(b, gguf.Q4_K, 2048, cols, 0.1)
		for _, way := range []struct {
			name                      string
			compensate, descend, anew bool
		}{{"compensate", true, false, false}, {"descent", false, true, false}, {"all", true, true, true}} {
			b.Run(fmt.Sprint(cols, "/", way.name), func(b *testing.B) {
				m.Compensate, m.Descend, m.Anew = way.compensate, way.descend, way.anew
				for b.Loop() {
					err := correlated(cols).Choose([]Changed{m}, func(_ int, rounding Rounding) error {
						q := Requantizer{m.Base, rounding}
						q.Rows(make([]byte, len(m.Base.Data)), NewRows(2048*cols), 0, m.Load)
						return nil
					})
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
