package algebra

import (
	"errors"
	"fmt"
	"io"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/safetensors"
)

// whole is a tensor of the tuned model as it is: a matrix, or a vector.
type whole struct {
	matrix model.Ordered
	vector []float32
}

func (t *whole) shape() []int64 {
	if t.vector != nil {
		return []int64{int64(len(t.vector))}
	}
	return []int64{int64(t.matrix.W.Rows), int64(t.matrix.W.Cols)}
}

// write writes the values, a row at a time.
func (t *whole) write(w io.Writer) error {
	if t.vector != nil {
		_, err := w.Write(floats.LittleEndian(t.vector))
		return err
	}
	row := make([]float32, t.matrix.W.Cols)
	for r := range t.matrix.W.Rows {
		t.matrix.Row(row, r)
		if _, err := w.Write(floats.LittleEndian(row)); err != nil {
			return err
		}
	}
	return nil
}

// SaveLeft writes the tensors that are left, as they are in the tuned model, which has to be open, to a safetensors
// file: whole, in float32, under Hugging Face's names and in its order of rows.
func (r *ExtractReport) SaveLeft(path string) error {
	if len(r.Left) == 0 {
		return errors.New("save what is left: there is nothing")
	}
	table := make([]safetensors.Tensor, len(r.Left))
	tensors := map[string]*whole{}
	for i := range r.Left {
		t := &r.Left[i]
		table[i] = safetensors.Tensor{Name: t.Name, DType: safetensors.F32, Shape: t.tuned.shape()}
		tensors[t.Name] = &t.tuned
	}
	err := atomicfile.Write(path, func(out io.Writer) error {
		w, err := safetensors.NewWriter(out, map[string]string{"format": "pt"}, table)
		if err != nil {
			return err
		}
		for _, entry := range w.Tensors() {
			if err := w.Begin(entry.Name); err != nil {
				return err
			}
			if err := tensors[entry.Name].write(w); err != nil {
				return err
			}
		}
		return w.Close()
	})
	if err != nil {
		return fmt.Errorf("save what is left: %w", err)
	}
	return nil
}
