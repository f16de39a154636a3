package model

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/quant"
	"github.com/peftconv/peftconv/safetensors"
)

// Ordered is a weight with rows in the order of the Hugging Face checkpoint.
type Ordered struct {
	W     quant.Matrix
	Heads int // > 0: the file has the rows of so many heads permuted
}

// Row sets dst to row r.
func (o Ordered) Row(dst []float32, r int) {
	if o.Heads > 0 {
		r = PermutedRow(r, o.W.Rows/o.Heads)
	}
	quant.Dequantize(o.W.Type, dst, o.W.Slice(r, r+1).Data)
}

// Dequantized is a matrix as float32.
func Dequantized(w *quant.Matrix) []float32 {
	x := make([]float32, w.Rows*w.Cols)
	quant.Dequantize(w.Type, x, w.Data)
	return x
}

// FloatMatrix is float32 values as a matrix over the same memory, on a machine that stores numbers as files do.
func FloatMatrix(rows, cols int, x []float32) quant.Matrix {
	return quant.Matrix{Type: gguf.F32, Rows: rows, Cols: cols, Data: floats.AsBytes(x)}
}

// InHFRows is a tensor whose rows are those of a weight, in the order of the Hugging Face checkpoint.
func InHFRows(x []float32, l *Linear) []float32 {
	if l.PermutedHeads == 0 {
		return x
	}
	cols, headDim := len(x)/l.W.Rows, l.W.Rows/l.PermutedHeads
	out := make([]float32, len(x))
	for r := range l.W.Rows {
		copy(out[r*cols:(r+1)*cols], x[PermutedRow(r, headDim)*cols:])
	}
	return out
}

// RowsInBase says where a base stores each row of a weight: nil where all stand in their place.
func RowsInBase(l *Linear) []int32 {
	if l.PermutedHeads == 0 {
		return nil
	}
	order := make([]int32, l.W.Rows)
	for r := range order {
		order[r] = int32(PermutedRow(r, l.W.Rows/l.PermutedHeads))
	}
	return order
}

// Inverted is the inverse of a permutation; nil of nil.
func Inverted(order []int32) []int32 {
	if order == nil {
		return nil
	}
	inverse := make([]int32, len(order))
	for i, v := range order {
		inverse[v] = int32(i)
	}
	return inverse
}

// Dtypes are the types that a touched tensor of a Hugging Face directory can have.
var Dtypes = map[gguf.Type]safetensors.DType{gguf.F32: "F32", gguf.F16: "F16", gguf.BF16: "BF16"}

// PermutedRow is where a GGUF file of the llama family stores row r of a query or key projection. A rotation couples
// value i of the first half of a head with value i of the second; the file has the two in neighbouring rows.
func PermutedRow(r, headDim int) int {
	head, in := r/headDim, r%headDim
	half, i := in/(headDim/2), in%(headDim/2)
	return head*headDim + 2*i + half
}
