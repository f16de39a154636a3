package merge

import (
	"bytes"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/quant"
)

// fileForm is how a Hugging Face file has a weight that is computed with in another form: transposed, or with rows and
// columns in another order.
type fileForm struct {
	transposed bool
	rows, cols []int32 // which of the file's each of the weight is; nil: the same
	n, m       int     // of the weight: rows, columns
}

// formOf finds the form in which the base's file has a weight, nil where it is not known. It is tried on the weight
// itself.
func (m *merger) formOf(l *model.Linear) (*fileForm, quant.Matrix) {
	none := quant.Matrix{}
	stored, ok := m.base.Store.Tensor(l.Tensor)
	if !ok || m.base.Model.HF == nil || l.Part || model.Dtypes[stored.Type] == "" {
		return nil, none
	}
	t, spec := m.base.Model.Arch.Tensor(l.Role), &m.base.Model.Spec
	f := &fileForm{n: l.W.Rows, m: l.W.Cols}
	switch t.Transform.(type) {
	case arch.Transpose:
		f.transposed = true
	case arch.SplitHeads, arch.TileHeads:
		f.rows, f.cols = t.Rows(spec, l.Layer), t.Columns(spec, l.Layer)
	default:
		return nil, none
	}
	x := model.Dequantized(&l.W)
	if !bytes.Equal(f.inFile(floats.Encode(stored.Type, x, len(x)), stored.Type.BlockSize()), stored.Data) {
		return nil, none
	}
	return f, quant.Matrix{Type: stored.Type, Rows: l.W.Rows, Cols: l.W.Cols, Data: stored.Data}
}

// inFile brings numbers of a weight, of so many bytes each, into the form of the file.
func (f *fileForm) inFile(data []byte, size int) []byte {
	out := make([]byte, len(data))
	if len(data) != f.n*f.m*size {
		return nil
	}
	for r := range f.n {
		for c := range f.m {
			at := index(f.rows, r)*f.m + index(f.cols, c)
			if f.transposed {
				at = c*f.n + r
			}
			copy(out[at*size:(at+1)*size], data[(r*f.m+c)*size:])
		}
	}
	return out
}

// index is element i of an order, i of none.
func index(order []int32, i int) int {
	if order == nil {
		return i
	}
	return int(order[i])
}
