package merge

import (
	"bytes"
	"slices"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/quant"
)

// fileForm is where a tensor of a Hugging Face file has a weight that is computed with in another form: transposed,
// with rows and columns in another order, or with its rows among those of other maps.
type fileForm struct {
	at   func(r, c int) int // the number of a value of the weight among all of the tensor
	n, m int                // of the weight: rows, columns
}

// formOf finds the form in which the base's file has a weight, nil where it is not known, and the tensor as a matrix of
// as many columns. The form is tried on the weight itself.
func (m *merger) formOf(l *model.Linear) (*fileForm, quant.Matrix) {
	none := quant.Matrix{}
	stored, ok := m.base.Store.Tensor(l.Tensor)
	if !ok || m.base.Model.HF == nil || model.Dtypes[stored.Type] == "" {
		return nil, none
	}
	t, spec := m.base.Model.Arch.Tensor(l.Role), &m.base.Model.Spec
	f := &fileForm{n: l.W.Rows, m: l.W.Cols}
	by, packed := t.Transform.(arch.PackExperts)
	if l.Part != packed {
		return nil, none
	}
	switch t.Transform.(type) {
	case arch.PackExperts:
		f.at = func(r, c int) int { return (l.Expert*f.m+c)*f.n*by.Every + r*by.Every + by.First }
	case arch.Transpose:
		f.at = func(r, c int) int { return c*f.n + r }
	case arch.SplitHeads, arch.TileHeads, arch.PickQKVZ:
		rows, cols := t.Rows(spec, l.Layer), t.Columns(spec, l.Layer)
		f.at = func(r, c int) int { return index(rows, r)*f.m + index(cols, c) }
	default:
		return nil, none
	}
	x, size := model.Dequantized(&l.W), stored.Type.BlockSize()
	data := slices.Clone(stored.Data)
	if !f.put(data, floats.Encode(stored.Type, x, len(x)), size) || !bytes.Equal(data, stored.Data) {
		return nil, none
	}
	rows := len(stored.Data) / size / f.m
	return f, quant.Matrix{Type: stored.Type, Rows: rows, Cols: f.m, Data: stored.Data}
}

// put puts the numbers of a weight, of so many bytes each, where the tensor has them. It reports false where a place is
// outside of it.
func (f *fileForm) put(tensor, weight []byte, size int) bool {
	for r := range f.n {
		for c := range f.m {
			at := f.at(r, c)
			if (at+1)*size > len(tensor) {
				return false
			}
			copy(tensor[at*size:(at+1)*size], weight[(r*f.m+c)*size:])
		}
	}
	return true
}

// index is element i of an order, i of none.
func index(order []int32, i int) int {
	if order == nil {
		return i
	}
	return int(order[i])
}
