package requant

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/store"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// MasterWeights are the weights that a base was quantized from: the value of each weight before it was rounded.
type MasterWeights struct {
	Path   string
	Model  *model.Model // the base
	Store  *store.Store
	Hashes map[*model.Linear]string // SHA-256 of those that were hashed so far
}

// Find is the master weights of a linear map as stored, nil where there are none, and the order of their rows and
// columns.
func (m *MasterWeights) Find(linear *model.Linear) (w *quant.Matrix, o model.Order) {
	t, o, ok := m.Model.In(m.Store, linear)
	if !ok || len(t.Shape) != 2 || !quant.Supported(t.Type) {
		return nil, model.Order{}
	}
	return &quant.Matrix{Type: t.Type, Rows: int(t.Shape[0]), Cols: int(t.Shape[1]), Data: t.Data}, o
}

// MasterRows are the master weights of one linear map.
type MasterRows struct {
	model.Ordered
	place []int32 // of a row of the base among those of the Hugging Face checkpoint; nil: the same
	base  *model.Linear
}

// Row sets dst (Cols) to the master weights of row r of the base.
func (l *MasterRows) Row(dst []float32, r int) {
	if l.place != nil {
		r = int(l.place[r])
	}
	l.Ordered.Row(dst, r)
	if l.base != nil && l.base.Cols != nil {
		inHF := slices.Clone(dst)
		for c, there := range l.base.Cols {
			dst[there] = inHF[c]
		}
	}
}

// Rows finds the master weights of a linear map of the base. Weights that are missing or of another shape are errors.
func (m *MasterWeights) Rows(linear *model.Linear) (*MasterRows, error) {
	w, o := m.Find(linear)
	switch {
	case w == nil:
		return nil, fmt.Errorf("%s has no matrix of floats or known blocks for %s: not the original of this base",
			m.Path, linear.Module)
	case w.Rows != linear.W.Rows || w.Cols != linear.W.Cols:
		return nil, fmt.Errorf("%s is %d×%d in %s, but %d×%d in the base: not the original of this base",
			linear.Module, w.Rows, w.Cols, m.Path, linear.W.Rows, linear.W.Cols)
	}
	return &MasterRows{model.Ordered{W: *w, Order: o}, arch.Inverted(linear.Rows), linear}, nil
}

// farMaster is how far, as a share of their norm, master weights may be from those of a base: unrelated ones are √2
// away, and those of 2 bits a third.
const farMaster = 0.9

// checkedRows is how many rows are compared.
const checkedRows = 64

// Check reports master weights that the base cannot have been quantized from, by some rows.
func (l *MasterRows) Check(linear *model.Linear) error {
	var miss, norm float64
	row, old := make([]float32, linear.W.Cols), make([]float32, linear.W.Cols)
	n := min(linear.W.Rows, checkedRows)
	for i := range n {
		r := i * linear.W.Rows / n
		linear.W.Row(old, r)
		l.Row(row, r)
		norm += kernels.SumSquares(row)
		kernels.Axpy(-1, row, old)
		miss += kernels.SumSquares(old)
	}
	if far := math.Sqrt(miss / norm); !(far < farMaster) && miss > 0 {
		return fmt.Errorf("the weights of %s are %.0f %% away from those of the base: not the original of this base",
			linear.Module, 100*far)
	}
	return nil
}

// hash is the SHA-256 of the weights as little-endian float32, rows as in the Hugging Face checkpoint: the same for all
// files that hold these numbers.
func (l *MasterRows) hash() string {
	h := sha256.New()
	row := make([]float32, l.W.Cols)
	for r := range l.W.Rows {
		l.Ordered.Row(row, r)
		h.Write(floats.LittleEndian(row))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Identity is the SHA-256 of a line "hash  module" for each of some linear maps.
func (m *MasterWeights) Identity(linears []*model.Linear) (string, error) {
	rows, hashes := make([]*MasterRows, len(linears)), make([]string, len(linears))
	for i, linear := range linears {
		var err error
		if rows[i], err = m.Rows(linear); err != nil {
			return "", err
		}
	}
	kernels.Parallel(len(linears), func(i int) {
		if hashes[i] = m.Hashes[linears[i]]; hashes[i] == "" {
			hashes[i] = rows[i].hash()
		}
	})
	h := sha256.New()
	for i, linear := range linears {
		m.Hashes[linear] = hashes[i]
		fmt.Fprintf(h, "%s  %s\n", hashes[i], linear.Module)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
