package requant

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// descentCase is a matrix quantized from known weights, with inputs whose columns are correlated.
type descentCase struct {
	w       quant.Matrix
	weights []float32
	x, y    []float32
}

func newDescentCase(typ gguf.Type, rows, cols, tokens int) *descentCase {
	random := rand.New(rand.NewPCG(9, uint64(typ)))
	normals := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(random.NormFloat64())
		}
		return x
	}
	c := &descentCase{weights: normals(rows * cols), x: normals(tokens * cols)}
	for t := range tokens {
		row := c.x[t*cols : (t+1)*cols]
		for i := 1; i < cols; i++ {
			row[i] = 0.7*row[i-1] + 0.5*row[i]
		}
	}
	c.y = slices.Clone(c.x)
	kernels.Axpy(0.1, normals(tokens*cols), c.y)
	importance := make([]float32, cols)
	for i := range importance {
		importance[i] = 1
	}
	c.w = quant.Matrix{Type: typ, Rows: rows, Cols: cols}
	c.w.Data = make([]byte, rows*c.w.RowSize())
	quant.Quantize(typ, c.w.Data, c.weights, cols, importance)
	return c
}

// error is |X·w'ᵀ - Y·wᵀ|² of blocks w'.
func (c *descentCase) error(w *quant.Matrix, x, y []float32) (sum float64) {
	row := make([]float32, w.Cols)
	for r := range w.Rows {
		w.Row(row, r)
		want := c.weights[r*w.Cols : (r+1)*w.Cols]
		for t := range len(x) / w.Cols {
			d := kernels.Dot(row, x[t*w.Cols:(t+1)*w.Cols]) - kernels.Dot(want, y[t*w.Cols:(t+1)*w.Cols])
			sum += float64(d) * float64(d)
		}
	}
	return sum
}

// improve runs a Descent over a copy of the blocks.
func (c *descentCase) improve(t *testing.T, y []float32, d Descent) (w quant.Matrix, before, after float64) {
	t.Helper()
	w = c.w
	w.Data = slices.Clone(c.w.Data)
	d.Cross = NewCross(w.Cols)
	d.Cross.Add(c.x, y)
	before, after, err := d.Improve(t.Context(), &w, func(dst []float32, r int) { copy(dst, c.weights[r*w.Cols:]) })
	if err != nil {
		t.Fatal(err)
	}
	return w, before, after
}

// TestDescent: in every block type the error of the products falls by what is said, and by much.
func TestDescent(t *testing.T) {
	for _, typ := range []gguf.Type{
		gguf.Q4_0, gguf.Q4_1, gguf.Q5_0, gguf.Q5_1, gguf.Q8_0, gguf.Q2_K, gguf.Q3_K, gguf.Q4_K, gguf.Q5_K, gguf.Q6_K,
		gguf.IQ4_NL, gguf.IQ4_XS, gguf.MXFP4, gguf.NVFP4, gguf.TQ1_0, gguf.TQ2_0, gguf.Q1_0, gguf.Q2_0,
		gguf.IQ1_S, gguf.IQ1_M, gguf.IQ2_XXS, gguf.IQ2_XS, gguf.IQ2_S, gguf.IQ3_XXS, gguf.IQ3_S,
	} {
		t.Run(typ.String(), func(t *testing.T) {
			c := newDescentCase(typ, 6, 512, 300)
			w, before, after := c.improve(t, c.x, Descent{Damping: 1e-6, Sweeps: 2})
			was, is := c.error(&c.w, c.x, c.x), c.error(&w, c.x, c.x)
			if math.Abs(was-before) > 1e-2*was || math.Abs(is-after) > 1e-2*was {
				t.Errorf("the error falls from %v to %v, said to fall from %v to %v", was, is, before, after)
			}
			if is > 0.8*was {
				t.Errorf("the error falls from %v to %v only", was, is)
			}
		})
	}
}

// TestDescentAims: where another model's inputs are known, the products come nearer to what it gives.
func TestDescentAims(t *testing.T) {
	c := newDescentCase(gguf.Q4_K, 6, 256, 600)
	plain, _, _ := c.improve(t, c.y, Descent{Damping: 1e-3, Sweeps: 1})
	aimed, _, _ := c.improve(t, c.y, Descent{Damping: 1e-3, Sweeps: 1, Near: 1e-3, Moves: 8})
	if a, p := c.error(&aimed, c.x, c.y), c.error(&plain, c.x, c.y); a > 0.95*p {
		t.Errorf("with the inputs of the other model the error is %v, without %v", a, p)
	}
}

// TestDescentThreads: the bytes are the same for any number of threads.
func TestDescentThreads(t *testing.T) {
	defer kernels.SetThreads(0)
	for _, typ := range []gguf.Type{gguf.Q2_K, gguf.IQ2_XS, gguf.IQ3_XXS} {
		c := newDescentCase(typ, 40, 512, 64)
		var found [][]byte
		for _, threads := range []int{1, 3} {
			kernels.SetThreads(threads)
			w, _, _ := c.improve(t, c.y, Descent{Damping: 0.01, Sweeps: 1, Near: 0.1, Moves: 4})
			found = append(found, w.Data)
		}
		if !bytes.Equal(found[0], found[1]) {
			t.Errorf("%v: one thread and three give other bytes", typ)
		}
	}
}

// TestDescentEdges: nothing is known without inputs, numbers that are not finite are refused, and a cancelled run ends.
func TestDescentEdges(t *testing.T) {
	c := newDescentCase(gguf.Q4_0, 4, 64, 8)
	c.x = nil
	w, before, after := c.improve(t, nil, Descent{Sweeps: 1})
	if before != 0 || after != 0 || !bytes.Equal(w.Data, c.w.Data) {
		t.Errorf("without inputs the error is %v, then %v", before, after)
	}
	c = newDescentCase(gguf.Q4_0, 4, 64, 8)
	c.weights[3] = float32(math.Inf(1))
	d := Descent{Cross: NewCross(64), Sweeps: 1}
	d.Cross.Add(c.x, c.x)
	target := func(dst []float32, r int) { copy(dst, c.weights[r*64:]) }
	if _, _, err := d.Improve(t.Context(), &c.w, target); err == nil {
		t.Error("an infinite weight is no error")
	}
	c.weights[3] = 0
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := d.Improve(ctx, &c.w, target); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled run gives %v", err)
	}
}
