package autograd

import (
	"math"

	"github.com/peftconv/peftconv/kernels"
)

// Rope says how rotary position embedding turns heads (Su et al. 2021, "RoFormer"): position p turns pair i by
// p·angle(i), with e = base^(-2i/dim)/factor(i) and angle = scale·e.
type Rope struct {
	Dim       int       // turned values of a head
	Offset    int       // the first of them in the head
	Base      float64   // theta
	Scale     float64   // positions are multiplied by it: 1, or 1/factor to interpolate
	Factors   []float32 // (Dim/2) divisors of the angles, or nil: 1; a pair whose factor is +Inf does not turn
	Neox      bool      // pairs are (i, i+Dim/2) of the turned values; otherwise (2i, 2i+1)
	Ramp      Ramp      // of YaRN
	Magnitude float64   // turned values are multiplied by it too; 0: 1
}

// Ramp leaves angles of fast pairs unscaled, scales those of slow pairs and blends between (Peng et al. 2023, "YaRN"):
// angle = e·(m + scale·(1-m)), m = Share·(1 - (i-Low)/(High-Low)) and the fraction within 0 and 1. Share is what ggml
// calls the extrapolation factor.
type Ramp struct {
	Share     float64 // 0: there is no ramp
	Low, High float64 // pairs
}

// mix is m for pair i.
func (r Ramp) mix(i int) float64 {
	return r.Share * (1 - min(max((float64(i)-r.Low)/max(0.001, r.High-r.Low), 0), 1))
}

// Angles are those of the pairs (Dim/2) at position 1, rounded to float32 as the reference implementations keep them.
func (r *Rope) Angles() []float64 {
	angles := make([]float64, r.Dim/2)
	for i := range angles {
		theta := math.Pow(r.Base, -2*float64(i)/float64(r.Dim))
		angle := r.Scale * theta
		if m := r.Ramp.mix(i); m != 0 {
			angle = r.Scale*theta*(1-m) + theta*m
		}
		if r.Factors != nil {
			angle /= float64(r.Factors[i])
		}
		angles[i] = float64(float32(angle))
	}
	return angles
}

// YaRN are the settings of that extension of the context.
type YaRN struct {
	Factor             float64 // by which the context grows
	Original           float64 // positions before
	BetaFast, BetaSlow float64 // turns within Original of the pairs where the ramp begins and ends; usually 32 and 1
	Share              float64 // see Ramp; 1
	Attention          float64 // Magnitude is multiplied by it; 0: 1

	// Magnitude is 1 + 0.1·ln(Factor), or with other multipliers (1 + 0.1·Multiplier·ln(Factor)) / (1 +
	// 0.1·AllMultiplier·ln(Factor)): mscale and mscale_all_dim of DeepSeek. AllMultiplier 0: the former; Multiplier 0: 1.
	Multiplier, AllMultiplier float64
}

// Extend sets the scale, the ramp and the magnitude of a rope whose Dim and Base are set.
func (y YaRN) Extend(r *Rope) {
	r.Scale = 1 / y.Factor
	r.Ramp = Ramp{Share: y.Share, Low: max(0, math.Floor(y.pair(r, y.BetaFast))),
		High: min(float64(r.Dim-1), math.Ceil(y.pair(r, y.BetaSlow)))}
	r.Magnitude = y.Magnitude()
}

// pair is the number, not whole, of the pair that turns so many times within the original context.
func (y YaRN) pair(r *Rope, turns float64) float64 {
	return float64(r.Dim) * math.Log(y.Original/(turns*2*math.Pi)) / (2 * math.Log(r.Base))
}

// Magnitude is what turned queries and keys are multiplied by.
func (y YaRN) Magnitude() float64 {
	m := 1.0
	if y.Attention != 0 {
		m = y.Attention
	}
	switch {
	case y.Share == 0:
		return m
	case y.AllMultiplier == 0:
		return m * y.magnitude(1)
	case y.Multiplier == 0:
		return m * y.magnitude(1) / y.magnitude(y.AllMultiplier)
	}
	return m * y.magnitude(y.Multiplier) / y.magnitude(y.AllMultiplier)
}

func (y YaRN) magnitude(multiplier float64) float64 {
	if y.Factor <= 1 {
		return 1
	}
	return 1 + 0.1*multiplier*math.Log(y.Factor)
}

// RopeTable holds the cosines and sines of positions. It grows with the positions that are used; it is not safe for
// concurrent use.
type RopeTable struct {
	Rope
	// Long is for the tokens of long sequences, whose position p is given to Tape.Rope as -1-p; nil where there are none.
	Long *RopeTable

	angles   []float64 // (Dim/2)
	cos, sin []float32 // (positions, Dim/2) times the magnitude
	negSin   []float32
}

// NewRopeTable makes a table. It panics if there are factors, but not one for each pair.
func NewRopeTable(r Rope) *RopeTable {
	if r.Factors != nil && len(r.Factors) != r.Dim/2 {
		panic("autograd: rope: factors and pairs differ")
	}
	if r.Magnitude == 0 {
		r.Magnitude = 1
	}
	return &RopeTable{Rope: r, angles: r.Angles()}
}

// reserve computes the angles of positions below n.
func (r *RopeTable) reserve(n int) {
	half := r.Dim / 2
	for p := len(r.cos) / max(half, 1); p < n && half > 0; p++ {
		for _, angle := range r.angles {
			sin, cos := math.Sincos(float64(p) * angle)
			sin, cos = r.Magnitude*sin, r.Magnitude*cos
			r.cos = append(r.cos, float32(cos))
			r.sin = append(r.sin, float32(sin))
			r.negSin = append(r.negSin, float32(-sin))
		}
	}
}

// turn rotates the heads of one row (heads·headDim values) to position p, or back; both multiply by the magnitude.
func (r *RopeTable) turn(row []float32, headDim, p int, back bool) {
	if p < 0 {
		r, p = r.Long, -1-p
	}
	half := r.Dim / 2
	cos, sin := r.cos[p*half:(p+1)*half], r.sin[p*half:(p+1)*half]
	if back {
		sin = r.negSin[p*half : (p+1)*half]
	}
	for at := r.Offset; at < len(row); at += headDim {
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
	if len(pos) != x.Rows || x.Cols%headDim != 0 || table.Offset+table.Dim > headDim {
		panic("autograd: Rope: shapes do not fit")
	}
	highest, lowest := int32(-1), int32(0)
	for _, p := range pos {
		highest, lowest = max(highest, p), min(lowest, p)
	}
	table.reserve(int(highest) + 1)
	if lowest < 0 {
		table.Long.reserve(int(-lowest))
	}
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

// backward multiplies the gradient by the transposed matrix: the rotation back, times the magnitude.
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
