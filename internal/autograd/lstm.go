package autograd

import (
	"math"

	"github.com/peftconv/peftconv/kernels"
)

// LSTMWeights are those of one direction of one layer, as PyTorch has them: the gates in the order input, forget, cell,
// output.
type LSTMWeights struct {
	Input      *Tensor // (4H, in)
	Hidden     *Tensor // (4H, H)
	InputBias  *Tensor // (1, 4H)
	HiddenBias *Tensor // (1, 4H)
}

// lstmOp is one direction of one layer.
type lstmOp struct {
	x, y    *Tensor
	w       LSTMWeights
	reverse bool
	gates   []float32 // (T, 4H) after their functions
	cells   []float32 // (T, H)
}

// LSTM is y (T, H): the hidden states of a long short-term memory (Hochreiter, Schmidhuber 1997) over the rows of x
// (T, in), one sequence, from the last row to the first where reverse is set; it starts from zero.
func (t *Tape) LSTM(x *Tensor, w LSTMWeights, reverse bool) *Tensor {
	h := w.Hidden.Cols
	if w.Input.Cols != x.Cols || w.Input.Rows != 4*h || w.Hidden.Rows != 4*h ||
		w.InputBias.Cols != 4*h || w.HiddenBias.Cols != 4*h {
		panic("autograd: LSTM: shapes of x and the weights do not fit")
	}
	y := t.Tensor(x.Rows, h)
	op := &lstmOp{x: x, y: y, w: w, reverse: reverse}
	op.gates, op.cells = t.arena.alloc(x.Rows*4*h), t.arena.alloc(x.Rows*h)
	kernels.Gemm(false, true, x.Rows, 4*h, x.Cols, 1, x.Data, x.Cols, w.Input.Data, x.Cols, 0, op.gates, 4*h)
	for step := range x.Rows {
		op.forward(step)
	}
	if x.needs || w.Input.needs {
		y.needs = true
		t.push(op)
	}
	return y
}

// at is the row of a step, and that of the step before it: -1 for the first.
func (op *lstmOp) at(step int) (row, before int) {
	switch {
	case !op.reverse:
		return step, step - 1
	case step == 0:
		return op.x.Rows - 1, -1
	}
	return op.x.Rows - 1 - step, op.x.Rows - step
}

// gate is gate k of a row: input, forget, cell, output.
func (op *lstmOp) gate(row, k int) []float32 {
	h := op.y.Cols
	return op.gates[(4*row+k)*h:][:h]
}

func (op *lstmOp) cell(row int) []float32 {
	h := op.y.Cols
	return op.cells[row*h:][:h]
}

// forward does one step; the products of its gates with the input are already computed.
func (op *lstmOp) forward(step int) {
	row, before := op.at(step)
	h := op.y.Cols
	all := op.gates[row*4*h:][:4*h]
	kernels.Add(all, op.w.InputBias.Data)
	kernels.Add(all, op.w.HiddenBias.Data)
	if before >= 0 {
		kernels.Gemm(false, true, 1, 4*h, h, 1, op.y.Row(before), h, op.w.Hidden.Data, h, 1, all, 4*h)
	}
	in, forget, cell, out := op.gate(row, 0), op.gate(row, 1), op.gate(row, 2), op.gate(row, 3)
	c, y := op.cell(row), op.y.Row(row)
	for j := range c {
		in[j], forget[j], cell[j], out[j] = sigmoid(in[j]), sigmoid(forget[j]), tanh(cell[j]), sigmoid(out[j])
		c[j] = in[j] * cell[j]
		if before >= 0 {
			c[j] += forget[j] * op.cell(before)[j]
		}
		y[j] = out[j] * tanh(c[j])
	}
}

func sigmoid(x float32) float32 { return float32(1 / (1 + math.Exp(-float64(x)))) }

func tanh(x float32) float32 { return float32(math.Tanh(float64(x))) }

// backward goes through the steps from the last to the first, then from the gradients of all gates to the weights.
func (op *lstmOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	x, w, h := op.x, &op.w, op.y.Cols
	for _, p := range []*Tensor{x, w.Input, w.Hidden, w.InputBias, w.HiddenBias} {
		if p.needs {
			t.grad(p)
		}
	}
	start := t.mark()
	dgates := t.Tensor(x.Rows, 4*h)
	dy, dc := t.arena.alloc(h), t.arena.alloc(h)
	clear(dc)
	for step := x.Rows - 1; step >= 0; step-- {
		op.backwardStep(step, dgates, dy, dc)
	}
	if w.Input.needs {
		kernels.Gemm(true, false, 4*h, x.Cols, x.Rows, 1, dgates.Data, 4*h, x.Data, x.Cols, 1, w.Input.Grad, x.Cols)
		op.addHidden(dgates)
		dgates.Grad = dgates.Data
		addRows(w.InputBias.Grad, dgates)
		addRows(w.HiddenBias.Grad, dgates)
	}
	if x.needs {
		kernels.Gemm(false, false, x.Rows, x.Cols, 4*h, 1, dgates.Data, 4*h, w.Input.Data, x.Cols, 1, x.Grad, x.Cols)
	}
	t.release(start)
}

// addHidden adds Σ dgatesᵀ·y(before) to the gradient of the hidden weights.
func (op *lstmOp) addHidden(dgates *Tensor) {
	h, n := op.y.Cols, op.x.Rows-1
	gates, before := dgates.Data[4*h:], op.y.Data
	if op.reverse {
		gates, before = dgates.Data, op.y.Data[h:]
	}
	if n > 0 {
		kernels.Gemm(true, false, 4*h, h, n, 1, gates, 4*h, before, h, 1, op.w.Hidden.Grad, h)
	}
}

// backwardStep computes the gradients of a step's gates; dc is the gradient of its cells, and then of those before.
func (op *lstmOp) backwardStep(step int, dgates *Tensor, dy, dc []float32) {
	h := op.y.Cols
	row, before := op.at(step)
	copy(dy, op.y.gradRow(row))
	if step+1 < op.x.Rows {
		next, _ := op.at(step + 1)
		kernels.Gemm(false, false, 1, h, 4*h, 1, dgates.Row(next), 4*h, op.w.Hidden.Data, h, 1, dy, h)
	}
	in, forget, cell, out := op.gate(row, 0), op.gate(row, 1), op.gate(row, 2), op.gate(row, 3)
	d := dgates.Row(row)
	for j, c := range op.cell(row) {
		squashed := tanh(c)
		dc[j] += dy[j] * out[j] * (1 - squashed*squashed)
		d[j] = dc[j] * cell[j] * in[j] * (1 - in[j])
		d[h+j] = 0
		if before >= 0 {
			d[h+j] = dc[j] * op.cell(before)[j] * forget[j] * (1 - forget[j])
		}
		d[2*h+j] = dc[j] * in[j] * (1 - cell[j]*cell[j])
		d[3*h+j] = dy[j] * squashed * out[j] * (1 - out[j])
		dc[j] *= forget[j]
	}
}
