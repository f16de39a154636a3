package tohf

import (
	"context"
	"fmt"
	"math"
	"path/filepath"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/weights"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
	"github.com/peftconv/peftconv/safetensors"
)

// writer makes the tensors and writes them.
type writer struct {
	ctx      context.Context
	file     *gguf.File
	outputs  []*output
	leftOut  []string  // names of tensors that are not written
	given    bool      // the type was asked for
	main     gguf.Type // of most tensors
	progress func(done, all int64)

	all, done, released int64 // bytes
	rounded             []Rounding
	slots               []slot
}

// slot is a piece of a tensor, with memory that is used again.
type slot struct {
	values, back []float32
	data         []byte
	max          float64 // of the differences that rounding made
	squares      float64 // of these
	size         float64 // of the values
	misfit       bool    // some value is not held exactly
}

// pieceElements is about how many elements a piece has, a whole number of rows, and mostElements how many those have
// that are made at a time.
const (
	pieceElements = 1 << 18
	mostElements  = 24 << 20
)

// keptBytes is how many bytes are written before the pages of the file are given back.
const keptBytes = 64 << 20

// rowsAPiece is the rows of a piece. Those of a turned matrix are columns in the file, which are read by the block.
func (o *output) rowsAPiece() int {
	_, each := o.rows()
	n := max(1, pieceElements/max(each, 1))
	if _, is := o.values.(turned); is {
		n = max(n, tileCols)
	}
	return n
}

// chooseTypes sets the type of each output, and adds up their sizes.
func (w *writer) chooseTypes() error {
	for _, o := range w.outputs {
		if o.raw == nil {
			t, err := w.typeOf(o)
			if err != nil {
				return err
			}
			o.dtype, o.to = dtypes[t], t
		}
		t := safetensors.Tensor{DType: o.dtype, Shape: o.shape}
		w.all += t.Size()
	}
	return nil
}

// typeOf is the type of an output.
func (w *writer) typeOf(o *output) (gguf.Type, error) {
	switch _, float := dtypes[o.from]; {
	case o.from != gguf.F32 && w.given, !float:
		return w.main, nil
	case o.from != gguf.F32:
		return o.from, nil
	case w.main == gguf.F32 || w.given && len(o.shape) > 1:
		return w.main, nil
	}
	fits := true
	err := w.pieces(o, w.main, func(list []slot) error {
		for i := range list {
			fits = fits && !list[i].misfit
		}
		return nil
	})
	if !fits {
		return gguf.F32, err
	}
	return w.main, err
}

// pieces makes an output piece by piece, all threads at once, and calls f with some that follow each other.
func (w *writer) pieces(o *output, to gguf.Type, f func(list []slot) error) error {
	n, each := o.rows()
	step := o.rowsAPiece()
	if w.slots == nil {
		w.slots = make([]slot, 2*kernels.Threads())
	}
	atOnce := min(len(w.slots), max(1, mostElements/max(step*each, 1)))
	for first := 0; first < n; first += step * atOnce {
		count := min(atOnce, (n-first+step-1)/step)
		err := weights.Each(w.ctx, count, func(i int) error {
			r0 := first + i*step
			return w.slots[i].make(o, to, r0, min(n, r0+step))
		})
		if err == nil {
			err = f(w.slots[:count])
		}
		if err != nil {
			return fmt.Errorf("tensor %q: %w", o.name, err)
		}
	}
	return nil
}

// rows is the rows of an output, and the elements, or bytes, of each.
func (o *output) rows() (n, each int) {
	if o.raw != nil {
		return o.raw.size()
	}
	return o.values.dims()
}

// make makes rows r0 to r1 of an output.
func (s *slot) make(o *output, to gguf.Type, r0, r1 int) error {
	_, each := o.rows()
	n := (r1 - r0) * each
	if o.raw != nil {
		s.data = grow(s.data, n)
		return o.raw.fill(s.data, r0, r1)
	}
	s.values = grow(s.values, n)
	o.values.tile(s.values, r0, r1, 0, each)
	if i := floats.FirstNonFinite(s.values); i >= 0 {
		return fmt.Errorf("row %d, column %d is not a finite number", r0+i/each, i%each)
	}
	s.data = grow(s.data, n*to.BlockSize())
	encode(to, s.data, s.values)
	s.max, s.squares, s.size, s.misfit = 0, 0, 0, false
	if !loses(o.from, to) {
		return nil
	}
	s.back = grow(s.back, n)
	quant.Dequantize(to, s.back, s.data)
	if i := floats.FirstNonFinite(s.back); i >= 0 {
		if o.from == gguf.F32 && o.dtype == "" { // it is being found out whether the type fits
			s.misfit = true
			return nil
		}
		return fmt.Errorf("row %d, column %d is %g, beyond the largest number of %s: write bf16 or f32", r0+i/each, i%each,
			s.values[i], dtypes[to])
	}
	for i, v := range s.values {
		d := math.Abs(float64(v) - float64(s.back[i]))
		s.misfit = s.misfit || d != 0
		s.max = max(s.max, d)
		s.squares += d * d
		s.size += float64(v) * float64(v)
	}
	return nil
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// tensors writes the files of tensors, and gives their names.
func (w *writer) tensors(path string, limit int64) ([]string, error) {
	byName := map[string]*output{}
	var list []safetensors.Tensor
	for _, o := range w.outputs {
		byName[o.name] = o
		list = append(list, safetensors.Tensor{Name: o.name, DType: o.dtype, Shape: o.shape})
	}
	out, err := safetensors.NewShardedWriter(path, map[string]string{"format": "pt"}, list, limit)
	if err != nil {
		return nil, err
	}
	defer out.Abort()
	for _, t := range out.Tensors() {
		if err := w.tensor(out, byName[t.Name]); err != nil {
			return nil, err
		}
	}
	if err := out.Close(); err != nil {
		return nil, err
	}
	var names []string
	for _, file := range out.Files() {
		names = append(names, filepath.Base(file))
	}
	return names, nil
}

// tensor writes one.
func (w *writer) tensor(out *safetensors.ShardedWriter, o *output) error {
	if err := out.Begin(o.name); err != nil {
		return err
	}
	var worst, squares, size float64
	n := 0
	err := w.pieces(o, o.to, func(list []slot) error {
		for i := range list {
			s := &list[i]
			if _, err := out.Write(s.data); err != nil {
				return err
			}
			worst, squares, size, n = max(worst, s.max), squares+s.squares, size+s.size, n+len(s.values)
			w.wrote(int64(len(s.data)))
		}
		return nil
	})
	if worst > 0 {
		w.rounded = append(w.rounded, Rounding{Tensor: o.name, From: o.from.String(), To: string(o.dtype), Max: worst,
			RMS: math.Sqrt(squares / size)})
	}
	return err
}

func (w *writer) wrote(n int64) {
	w.done += n
	if w.done-w.released >= keptBytes {
		w.file.Release()
		w.released = w.done
	}
	if w.progress != nil {
		w.progress(w.done, w.all)
	}
}
