package merge

import (
	"fmt"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/quantize"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// mixture is the types of a file type that gives tensors different ones.
type mixture struct {
	fileType uint32
	types    map[string]gguf.Type // of each tensor of the base
}

// chooseMixture finds the types of the tensors where Options.Type is no type but a mixture, as quantize has them.
func (m *merger) chooseMixture() error {
	if m.opt.Type == "" || m.base.GGUF == nil {
		return nil
	}
	if _, err := gguf.ParseType(m.opt.Type); err == nil {
		return nil
	}
	ft, err := quantize.ParseFileType(m.opt.Type)
	if err != nil {
		return err
	}
	plan, err := quantize.NewPlan(m.base.GGUF, quantize.Options{Type: ft, Imatrix: m.imatrix, AllowRequantize: true})
	if err != nil {
		return err
	}
	m.mixture = &mixture{ft.ID, map[string]gguf.Type{}}
	for _, t := range plan.Tensors {
		m.mixture.types[t.Name] = t.To
	}
	return nil
}

// copiedType is the type of a tensor that no adapter changes: its own, or that of the mixture where it has floats.
func (m *merger) copiedType(t *gguf.Tensor) gguf.Type {
	if m.mixture != nil && t.Type.BlockLen() == 1 && quant.Supported(t.Type) {
		return m.mixture.types[t.Name]
	}
	return t.Type
}

// Weights of a piece, and pieces in work at a time, of a tensor that gets another type.
const (
	pieceWeights = 1 << 16
	pieces       = 64
)

// writeAs writes a tensor of floats in another type.
func (m *merger) writeAs(w *gguf.Writer, t *gguf.Tensor, to gguf.Type) error {
	if err := w.Begin(t.Name); err != nil {
		return err
	}
	cols := t.Cols()
	size, err := to.RowSize(cols)
	if err != nil {
		return fmt.Errorf("tensor %s: %w", t.Name, err)
	}
	rows, from := max(1, pieceWeights/cols), t.Size()/t.Rows()
	for first := int64(0); first < t.Rows(); first += rows * pieces {
		n := min(rows*pieces, t.Rows()-first)
		out := make([]byte, n*size)
		kernels.Parallel(int((n+rows-1)/rows), func(i int) {
			r0 := int64(i) * rows
			r1 := min(r0+rows, n)
			x := make([]float32, (r1-r0)*cols)
			quant.Dequantize(t.Type, x, t.Bytes()[(first+r0)*from:(first+r1)*from])
			quant.Quantize(to, out[r0*size:r1*size], x, int(cols), nil)
		})
		if _, err := w.Write(out); err != nil {
			return err
		}
		m.wrote(t.Name, int64(len(out)))
	}
	return nil
}
