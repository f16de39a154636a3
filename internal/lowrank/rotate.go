package lowrank

import (
	"slices"

	"github.com/peftconv/peftconv/internal/linalg"
	"github.com/peftconv/peftconv/quant"
)

// PowerSeries is the sum of c[i]·Qⁱ of a matrix of n rows.
func PowerSeries(c, q []float32, n int) []float32 {
	sum, next := make([]float32, n*n), make([]float32, n*n)
	for i := len(c) - 1; i >= 0; i-- { // Horner's scheme
		sum, next = next, sum
		clear(sum)
		for r := range n {
			sum[r*n+r] = c[i]
			if i+1 < len(c) {
				AddCombination(sum[r*n:(r+1)*n], 1, q[r*n:(r+1)*n], next, n)
			}
		}
	}
	return sum
}

// Cayley is (I+Q)⁻¹·(I-Q) of a skew-symmetric matrix of n rows, whose factors can change places.
func Cayley(q []float32, n int) []float32 {
	plus, minus := make([]float64, n*n), make([]float64, n*n)
	for i, v := range q {
		plus[i], minus[i] = float64(v), -float64(v)
	}
	for i := range n {
		plus[i*n+i]++
		minus[i*n+i]++
	}
	r, err := linalg.Solve(plus, minus, n, n)
	if err != nil {
		panic("lowrank: a rotation whose values are not finite")
	}
	out := make([]float32, n*n)
	for i, v := range r {
		out[i] = float32(v)
	}
	return out
}

// Rotated is the change strength·(W·Rᵀ - W) of a matrix.
type Rotated struct {
	W        *quant.Matrix
	Cols     []int32     // where W has each column; nil: in its place
	Turned   [][]float32 // Rᵀ of each block, or of the one that they share
	Size     int         // columns of a block
	Strength float32
}

// Multiply rotates rows of a matrix.
func (s *Rotated) Multiply(x []float32, r0, r1 int) {
	s.add(x, slices.Clone(x[:(r1-r0)*s.W.Cols]), r1-r0)
}

// AddRows adds the change of rows r0 to r1-1.
func (s *Rotated) AddRows(dst []float32, r0, r1 int) {
	cols := s.W.Cols
	rows := make([]float32, (r1-r0)*cols)
	for r := r0; r < r1; r++ {
		s.W.Row(rows[(r-r0)*cols:][:cols], r)
	}
	s.add(dst, rows, r1-r0)
}

// add is dst += strength·(rows·Rᵀ - rows) of n rows.
func (s *Rotated) add(dst, rows []float32, n int) {
	cols := s.W.Cols
	FusedAxpy(-s.Strength, rows, dst[:n*cols])
	to, from := dst, rows
	if s.Cols != nil {
		to, from = make([]float32, n*cols), make([]float32, n*cols)
		for at := 0; at < n*cols; at += cols {
			for c, there := range s.Cols {
				to[at+c], from[at+c] = dst[at+int(there)], rows[at+int(there)]
			}
		}
	}
	for at := 0; at < n*cols; at += s.Size {
		block := s.Turned[at/s.Size%len(s.Turned)]
		AddCombination(to[at:at+s.Size], s.Strength, from[at:at+s.Size], block, s.Size)
	}
	if s.Cols != nil {
		for at := 0; at < n*cols; at += cols {
			for c, there := range s.Cols {
				dst[at+int(there)] = to[at+c]
			}
		}
	}
}
