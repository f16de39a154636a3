package model

import (
	"math"
	"slices"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/quant"
)

// fromHF brings a linear map of a Hugging Face file into the form of a GGUF file, in memory, where the decoder computes
// with that form.
func (l *loader) fromHF(t *arch.Tensor, layer int, m *Linear) {
	if _, ok := t.Transform.(arch.PermuteHeads); ok || l.err != nil {
		return // the decoder turns halves instead
	}
	if order := t.Rows(l.spec, layer); order != nil {
		m.W = rowsInOrder(m.W, order)
		m.Bias = rowsListed(m.Bias, order, 1)
	}
	if order := t.Columns(l.spec, layer); order != nil {
		m.W = FloatMatrix(m.W.Rows, m.W.Cols, colsListed(Dequantized(&m.W), order))
	}
}

// transposed is a matrix (rows, cols) of a file that stores (cols, rows).
func (l *loader) transposed(name string, rows, cols int) quant.Matrix {
	w := l.matrix(name, cols, rows, []int64{int64(cols), int64(rows)})
	if l.err != nil {
		return w
	}
	return FloatMatrix(rows, cols, transposedValues(Dequantized(&w), cols, rows))
}

// transposedValues is the transposed matrix x (rows, cols).
func transposedValues(x []float32, rows, cols int) []float32 {
	y := make([]float32, len(x))
	for r := range rows {
		for c := range cols {
			y[c*rows+r] = x[r*cols+c]
		}
	}
	return y
}

// picked is the matrix of the rows that order lists, of a file that has more.
func (l *loader) picked(name string, order []int32, cols int) quant.Matrix {
	t, _ := l.source.Tensor(name)
	rows := 0
	if len(t.Shape) == 2 {
		rows = int(t.Shape[0])
	}
	w := l.matrix(name, rows, cols, []int64{int64(rows), int64(cols)})
	if l.err != nil {
		return w
	}
	if last := int(slices.Max(order)); last >= rows {
		l.fail("tensor %q has %d rows, expected more than %d", name, rows, last)
		return w
	}
	return rowsInOrder(w, order)
}

// eachHead are the numbers of a tensor of which the file has one for each head.
func (l *loader) eachHead(t *arch.Tensor, layer int) []float32 {
	var x []float32
	shape := t.Sizes(l.spec, layer)
	for h := range int(shape[0]) {
		x = append(x, l.values(l.inHF(t.HeadInHF(layer, h)), shape[1:])...)
	}
	return x
}

// vectorFromHF brings numbers of a Hugging Face file into the form of a GGUF file.
func (l *loader) vectorFromHF(t *arch.Tensor, layer int, x []float32) []float32 {
	if order := t.Rows(l.spec, layer); len(order) > 0 {
		x = rowsListed(x, order, len(x)/len(order))
	}
	if t.Role == arch.RecurrentDecay {
		for i, v := range x {
			x[i] = float32(-math.Exp(float64(v)))
		}
	}
	return x
}

// rowsInOrder is a matrix of the rows that order lists.
func rowsInOrder(w quant.Matrix, order []int32) quant.Matrix {
	size := len(w.Data) / w.Rows
	data := make([]byte, len(order)*size)
	for r, from := range order {
		copy(data[r*size:(r+1)*size], w.Data[int(from)*size:])
	}
	w.Rows, w.Data = len(order), data
	return w
}
