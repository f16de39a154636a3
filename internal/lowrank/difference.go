package lowrank

import (
	"math"

	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
)

// Difference is to - from, with the sum of its squares and of those of from.
func Difference(from, to model.Ordered) (delta []float32, squares, norm float64) {
	delta = make([]float32, from.W.Rows*from.W.Cols)
	squares, norm = Differ(from, to, func(r int) []float32 { return delta[r*from.W.Cols : (r+1)*from.W.Cols] })
	return delta, squares, norm
}

// Differ is the sums of squares of to - from and of from, a row at a time; into gives the memory for a row's
// difference.
func Differ(from, to model.Ordered, into func(r int) []float32) (squares, norm float64) {
	rows, cols := from.W.Rows, from.W.Cols
	sums := make([][2]float64, rows)
	const piece = 16 // rows a thread takes at a time
	kernels.Parallel((rows+piece-1)/piece, func(i int) {
		old := make([]float32, cols)
		for r := i * piece; r < min(rows, (i+1)*piece); r++ {
			d := into(r)
			from.Row(old, r)
			to.Row(d, r)
			for j, v := range old {
				d[j] -= v
			}
			sums[r] = [2]float64{kernels.SumSquares(d), kernels.SumSquares(old)}
		}
	})
	for _, s := range sums {
		squares, norm = squares+s[0], norm+s[1]
	}
	return squares, norm
}

// SumSquares adds up the squares a row at a time.
func SumSquares(x []float32, cols int) float64 {
	sum := 0.0
	for o := 0; o < len(x); o += cols {
		sum += kernels.SumSquares(x[o : o+cols])
	}
	return sum
}

// Ratio is ‖Δ‖/‖W‖ of sums of squares.
func Ratio(squares, norm float64) float64 {
	if norm == 0 {
		return math.Sqrt(squares)
	}
	return math.Sqrt(squares / norm)
}

// Cutting is what a change lost: sums of squared singular values.
type Cutting struct{ Lost, All float64 }

// Energy is the share that is kept; 1 where there was nothing.
func (c Cutting) Energy() float64 {
	if c.All == 0 {
		return 1
	}
	return 1 - c.Lost/c.All
}

// Error is the norm of what was cut, as a share of the whole; 0 where there was nothing.
func (c Cutting) Error() float64 {
	if c.All == 0 {
		return 0
	}
	return math.Sqrt(c.Lost / c.All)
}
