package autograd

import "github.com/peftconv/peftconv/kernels"

// prefixOp is y = x with the rows of p before each sequence.
type prefixOp struct {
	x, p, y *Tensor
	bounds  []int32
}

// Prefix is y (T+S·n, D): the rows of p (n, D) before the rows of each of the S sequences of x (T, D). With prefix
// keys and values, attention over the result, with the bounds of PrefixBounds, is attention of the tokens over both.
// The prefix rows of the queries have any values; WithoutPrefix removes their results.
func (t *Tape) Prefix(x, p *Tensor, bounds []int32) *Tensor {
	if x.Cols != p.Cols || x.Rows != int(bounds[len(bounds)-1]) {
		panic("autograd: Prefix: shapes do not fit")
	}
	n := p.Rows
	y := t.Tensor(x.Rows+(len(bounds)-1)*n, x.Cols)
	op := &prefixOp{x, p, y, bounds}
	for s := range len(bounds) - 1 {
		first, end := int(bounds[s]), int(bounds[s+1])
		at := (first + s*n) * x.Cols
		copy(y.Data[at:], p.Data)
		copy(y.Data[at+len(p.Data):], x.Data[first*x.Cols:end*x.Cols])
	}
	t.lap(PartAttention)
	if x.needs || p.needs {
		y.needs = true
		t.push(op)
	}
	return y
}

// PrefixBounds are the bounds of sequences that have n more rows in front.
func PrefixBounds(bounds []int32, n int) []int32 {
	longer := make([]int32, len(bounds))
	for s, b := range bounds {
		longer[s] = b + int32(s*n)
	}
	return longer
}

func (op *prefixOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	x, p, n := op.x, op.p, op.p.Rows
	for s := range len(op.bounds) - 1 {
		first, end := int(op.bounds[s]), int(op.bounds[s+1])
		at := (first + s*n) * x.Cols
		if p.needs {
			kernels.Add(t.grad(p), op.y.Grad[at:at+len(p.Data)])
		}
		if x.needs {
			kernels.Add(t.grad(x)[first*x.Cols:end*x.Cols], op.y.Grad[at+len(p.Data):][:(end-first)*x.Cols])
		}
	}
	t.lap(PartAttention)
}

// withoutPrefixOp is y = x without the first n rows of each sequence.
type withoutPrefixOp struct {
	x, y   *Tensor
	bounds []int32
	n      int
}

// WithoutPrefix undoes Prefix: y (T, D) is x (T+S·n, D) without the n rows before each of the S sequences. bounds are
// those without them.
func (t *Tape) WithoutPrefix(x *Tensor, n int, bounds []int32) *Tensor {
	y := t.Tensor(int(bounds[len(bounds)-1]), x.Cols)
	op := &withoutPrefixOp{x, y, bounds, n}
	for s := range len(bounds) - 1 {
		copy(op.sequence(y.Data, s, 0), op.sequence(x.Data, s, n))
	}
	t.lap(PartAttention)
	if x.needs {
		y.needs = true
		t.push(op)
	}
	return y
}

// sequence is the rows of sequence s in data that have n more before each sequence.
func (op *withoutPrefixOp) sequence(data []float32, s, n int) []float32 {
	first, end := int(op.bounds[s]), int(op.bounds[s+1])
	at := (first + (s+1)*n) * op.x.Cols
	return data[at : at+(end-first)*op.x.Cols]
}

func (op *withoutPrefixOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	t.grad(op.x)
	for s := range len(op.bounds) - 1 {
		kernels.Add(op.sequence(op.x.Grad, s, op.n), op.sequence(op.y.Grad, s, 0))
	}
	t.lap(PartAttention)
}

// aboveOp is y = a over b.
type aboveOp struct{ a, b, y *Tensor }

// Above is y (A+B, D): the rows of a (A, D), then those of b (B, D).
func (t *Tape) Above(a, b *Tensor) *Tensor {
	if a.Cols != b.Cols {
		panic("autograd: Above: columns differ")
	}
	y := t.Tensor(a.Rows+b.Rows, a.Cols)
	copy(y.Data, a.Data)
	copy(y.Data[len(a.Data):], b.Data)
	if a.needs || b.needs {
		y.needs = true
		t.push(&aboveOp{a, b, y})
	}
	return y
}

func (op *aboveOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	if op.a.needs {
		kernels.Add(t.grad(op.a), op.y.Grad[:len(op.a.Data)])
	}
	if op.b.needs {
		kernels.Add(t.grad(op.b), op.y.Grad[len(op.a.Data):])
	}
}
