package model

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/quant"
	"github.com/peftconv/peftconv/safetensors"
)

// Order is where a file has each row and each column of a Hugging Face weight; nil: in place.
type Order struct{ Rows, Cols []int32 }

// Order is where W has the rows and columns of the Hugging Face weight.
func (l *Linear) Order() Order { return Order{l.Rows, l.Cols} }

// Ordered is a weight with rows and columns in the order of the Hugging Face checkpoint.
type Ordered struct {
	W quant.Matrix
	Order
}

// Ordered is the weight in the order of the Hugging Face checkpoint.
func (l *Linear) Ordered() Ordered { return Ordered{l.W, l.Order()} }

// Row sets dst to row r.
func (o Ordered) Row(dst []float32, r int) {
	if o.Rows != nil {
		r = int(o.Rows[r])
	}
	row := dst
	if o.Cols != nil {
		row = make([]float32, len(dst))
	}
	quant.Dequantize(o.W.Type, row, o.W.Slice(r, r+1).Data)
	if o.Cols != nil {
		gather(dst, row, o.Cols)
	}
}

// gather sets dst to the values of src in an order.
func gather(dst, src []float32, order []int32) {
	for i, from := range order {
		dst[i] = src[from]
	}
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
	if l.Rows == nil || x == nil {
		return x
	}
	return rowsListed(x, l.Rows, len(x)/len(l.Rows))
}

// rowsListed are the rows of x, of cols values each, that order lists; nil of nil.
func rowsListed(x []float32, order []int32, cols int) []float32 {
	if x == nil {
		return nil
	}
	out := make([]float32, len(order)*cols)
	for r, from := range order {
		copy(out[r*cols:(r+1)*cols], x[int(from)*cols:])
	}
	return out
}

// InHFCols is a tensor whose columns are those of a weight, in the order of the Hugging Face checkpoint.
func InHFCols(x []float32, l *Linear) []float32 {
	if l.Cols == nil || x == nil {
		return x
	}
	return colsListed(x, l.Cols)
}

// colsListed is x with the columns that order lists.
func colsListed(x []float32, order []int32) []float32 {
	out, n := make([]float32, len(x)), len(order)
	for at := 0; at < len(x); at += n {
		gather(out[at:], x[at:at+n], order)
	}
	return out
}

// Dtypes are the types that a touched tensor of a Hugging Face directory can have.
var Dtypes = map[gguf.Type]safetensors.DType{gguf.F32: "F32", gguf.F16: "F16", gguf.BF16: "BF16"}
