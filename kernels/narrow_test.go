package kernels

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// roundedProduct is what a product in precision p should be: y + x·wᵀ and dy·w of rounded numbers, in float64.
func (c *weightsCase) round(p Precision, d Dense) {
	block := formOf(p).block
	rows := func(x []float32, n, cols int) []float32 {
		x = slices.Clone(x)
		for i := range n {
			for k := 0; k < cols; k += block {
				p.round(x[i*cols+k : i*cols+min(cols, k+block)])
			}
		}
		return x
	}
	columns := slices.Clone(d.Data)
	for k := 0; k < d.Rows; k += block {
		p.roundColumns(columns[k*d.Cols:], d.Cols, min(block, d.Rows-k), d.Cols)
	}
	c.wantY = rowsTimes64(c.y, rows(c.x, c.n, d.Cols), strided(rows(d.Data, d.Rows, d.Cols), d.Cols, true), c.n, d.Rows, d.Cols)
	c.wantX = rowsTimes64(make([]float32, c.n*d.Cols), rows(c.dy, c.n, d.Rows), strided(columns, d.Cols, false), c.n, d.Cols, d.Rows)
}

// TestGemmPrecision: products in every precision are those of rounded numbers, on every tier.
func TestGemmPrecision(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, p := range []Precision{BF16, Int8} {
			for _, s := range [][3]int{{17, 33, 70}, {40, 300, 20}, {70, 5, 513}, {20, 1, 1}, {29, 530, 256}, {70, 64, 700}, {130, 259, 260}} {
				d := Dense{s[1], s[2], randoms(s[1]*s[2], 1)}
				c := newWeightsCase(d, s[0])
				c.round(p, d)
				for _, w := range []Weights{d, strictWeights{d}} {
					what := fmt.Sprintf("%v, %T %d×%d, %d rows: ", p, w, s[1], s[2], s[0])
					y := slices.Clone(c.y)
					GemmWTPrec(p, y, c.x, c.n, w, 1)
					checkClose(t, what+"GemmWTPrec", y, c.wantY, 2e-4)
					dx := slices.Repeat([]float32{float32(math.NaN())}, c.n*c.cols)
					GemmWPrec(p, dx, c.dy, c.n, w, 0)
					checkClose(t, what+"GemmWPrec", dx, c.wantX, 2e-4)
				}
			}
		}
	})
}
