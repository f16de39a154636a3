package autograd

import (
	"math"

	"github.com/peftconv/peftconv/kernels"
)

// RopeTable holds the angles of rotary position embedding (Su et al. 2021, "RoFormer"): position p rotates pair i by
// p·base^(-2i/dim)/factor_i. It grows with the positions that are used; it is not safe for concurrent use.
type RopeTable struct {
	Dim  int  // rotated values of a head, from its start
	Neox bool // pairs are (i, i+Dim/2); otherwise (2i, 2i+1)

	inverse  []float64 // (Dim/2) angle per position, rounded to float32 as the reference implementations keep it
	cos, sin []float32 // (positions, Dim/2)
	negSin   []float32
}

// NewRopeTable makes a table for heads whose first dim values are rotated. factors divides the angle of each pair
// (dim/2 of them; nil: 1), scale multiplies all positions (linear scaling; 1: none).
func NewRopeTable(dim int, base, scale float64, factors []float32, neox bool) *RopeTable {
	r := &RopeTable{Dim: dim, Neox: neox, inverse: make([]float64, dim/2)}
	for i := range r.inverse {
		r.inverse[i] = scale * math.Pow(base, -2*float64(i)/float64(dim))
		if factors != nil {
			r.inverse[i] /= float64(factors[i])
		}
		r.inverse[i] = float64(float32(r.inverse[i]))
	}
	return r
}

// reserve computes the angles of positions below n.
func (r *RopeTable) reserve(n int) {
	half := r.Dim / 2
	for p := len(r.cos) / max(half, 1); p < n && half > 0; p++ {
		for _, angle := range r.inverse {
			sin, cos := math.Sincos(float64(p) * angle)
			r.cos = append(r.cos, float32(cos))
			r.sin = append(r.sin, float32(sin))
			r.negSin = append(r.negSin, float32(-sin))
		}
	}
}

// turn rotates the heads of one row (heads·headDim values) to position p, or back.
func (r *RopeTable) turn(row []float32, headDim, p int, back bool) {
	half := r.Dim / 2
	cos, sin := r.cos[p*half:(p+1)*half], r.sin[p*half:(p+1)*half]
	if back {
		sin = r.negSin[p*half : (p+1)*half]
	}
	for at := 0; at < len(row); at += headDim {
		head := row[at : at+r.Dim]
		if r.Neox {
			kernels.RopeNeox(head, cos, sin)
		} else {
			kernels.Rope(head, cos, sin)
		}
	}
}

// ropeOp is the rotation of x.
type ropeOp struct {
	x       *Tensor
	pos     []int32
	headDim int
	table   *RopeTable
}

// Rope rotates every head of x (T, heads·headDim) by its token's position pos (T), in place.
func (t *Tape) Rope(x *Tensor, pos []int32, headDim int, table *RopeTable) *Tensor {
	if len(pos) != x.Rows || x.Cols%headDim != 0 || table.Dim > headDim {
		panic("autograd: Rope: shapes do not fit")
	}
	highest := int32(-1)
	for _, p := range pos {
		highest = max(highest, p)
	}
	table.reserve(int(highest) + 1)
	op := t.pools.rope.take()
	*op = ropeOp{x, pos, headDim, table}
	t.rows(x.Rows, x.Cols, op)
	t.lap(PartElementwise)
	t.keep(op, x.needs)
	return x
}

func (op *ropeOp) rows(from, to int) {
	for i := from; i < to; i++ {
		op.table.turn(op.x.Row(i), op.headDim, int(op.pos[i]), false)
	}
}

// backward rotates the gradient back: a rotation's inverse is its transpose.
func (op *ropeOp) backward(t *Tape) {
	if op.x.Grad != nil {
		t.rows(op.x.Rows, op.x.Cols, (*ropeBackward)(op))
	}
}

type ropeBackward ropeOp

func (op *ropeBackward) rows(from, to int) {
	for i := from; i < to; i++ {
		op.table.turn(op.x.gradRow(i), op.headDim, int(op.pos[i]), true)
	}
}
