package convert

import (
	"fmt"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/quant"
	"github.com/peftconv/peftconv/safetensors"
)

// types are the data types of safetensors whose elements package quant reads.
var types = map[safetensors.DType]gguf.Type{safetensors.F32: gguf.F32, safetensors.F16: gguf.F16,
	safetensors.BF16: gguf.BF16}

// view is a matrix in a tensor of Hugging Face files: its row r, column c is element first + r·rowStride + c·colStride.
type view struct {
	source               *source
	first                int64
	rowStride, colStride int64
	order                []int32 // row r is row order[r] of these; nil: r
	columns              []int32 // the same for columns
}

// row is the element at the beginning of row r.
func (v *view) row(r int64) int64 {
	if v.order != nil {
		r = int64(v.order[r])
	}
	return v.first + r*v.rowStride
}

// whole reports whether rows lie one behind the other as they are, so that the bytes can be taken.
func (v *view) whole(cols int64) bool {
	return v.order == nil && v.columns == nil && v.colStride == 1 && v.rowStride == cols
}

// floats are n rows from row r on, cols wide. scratch is memory for it.
func (v *view) floats(dst []float32, r, n, cols int64, scratch *[]float32) error {
	switch {
	case v.whole(cols):
		return v.source.floats(dst[:n*cols], v.first+r*cols)
	case v.colStride == 1:
		for i := range n {
			row := dst[i*cols : (i+1)*cols]
			if err := v.source.floats(row, v.row(r+i)); err != nil {
				return err
			}
			if v.columns != nil {
				*scratch = append((*scratch)[:0], row...)
				for c, from := range v.columns {
					row[c] = (*scratch)[from]
				}
			}
		}
		return nil
	case v.order != nil || v.columns != nil:
		return fmt.Errorf("tensor %q: an order of what is transposed", v.source.tensor.Name)
	}
	// The rows are columns there: each row there gives a value to each row here.
	from := v.row(r)
	span := (n-1)*v.rowStride + 1
	*scratch = resize(*scratch, int(span))
	for c := range cols {
		if err := v.source.floats(*scratch, from+c*v.colStride); err != nil {
			return err
		}
		for i := range n {
			dst[i*cols+c] = (*scratch)[i*v.rowStride]
		}
	}
	return nil
}

// source is a tensor of Hugging Face files as float32.
type source struct {
	tensor *safetensors.Tensor
	scale  *blockScale // what its elements are multiplied by; nil: 1
}

// floats are the elements from number first on.
func (s *source) floats(dst []float32, first int64) error {
	if t, ok := types[s.tensor.DType]; ok {
		size := int64(t.BlockSize())
		quant.Dequantize(t, dst, s.tensor.Bytes()[first*size:(first+int64(len(dst)))*size])
	} else if err := s.tensor.CopyFloat32s(dst, first); err != nil {
		return err
	}
	if s.scale != nil {
		s.scale.multiply(dst, first)
	}
	return nil
}

// blockScale is a factor for each block of a matrix.
type blockScale struct {
	factors    []float32
	cols       int64 // of the matrix
	rowsOf     int64 // rows of a block
	colsOf     int64 // columns of a block
	blocksWide int64 // blocks beside each other
}

// multiply multiplies elements from number first on.
func (b *blockScale) multiply(x []float32, first int64) {
	for i := range x {
		at := first + int64(i)
		x[i] *= b.factors[at/b.cols/b.rowsOf*b.blocksWide+at%b.cols/b.colsOf]
	}
}

// resize is x, or a larger slice, with n elements of whatever value.
func resize[T any](x []T, n int) []T {
	if cap(x) < n {
		return make([]T, n)
	}
	return x[:n]
}
