package quantize

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

const (
	pieceWeights = 1 << 16  // about how many weights a worker takes at a time
	pieceBytes   = 1 << 20  // about how many bytes of a tensor that is copied
	keptBytes    = 32 << 20 // how many bytes of the source are read before their memory is given back
)

// Progress is the progress of Write.
type Progress struct {
	Tensor      string // the one in progress
	Bytes, Size int64  // of the tensors' data, written and in all
}

// Write writes the planned model to a file, or to several where a split model stays split; their names are made from
// out. Weights that are not finite are refused, and so are weights that do not fit the range of their type. When Write
// fails there is nothing under the final names, and existing files are unchanged. progress, if not nil, is called
// after each piece.
func (p *Plan) Write(ctx context.Context, out string, progress func(Progress)) (err error) {
	defer mapped.Guard(&err)()
	files, err := p.shards(out)
	if err != nil {
		return err
	}
	w := &writer{plan: p, progress: progress, size: p.DataBytes()}
	defer w.abort()
	for i := range files {
		if err := w.open(&files[i]); err != nil {
			return err
		}
		if err := w.write(ctx, &files[i]); err != nil {
			return fmt.Errorf("write %s: %w", files[i].path, err)
		}
	}
	return atomicfile.CommitAll(w.files...)
}

// writer is one run of Write.
type writer struct {
	plan     *Plan
	progress func(Progress)
	written  int64 // of size
	size     int64
	kept     int64 // bytes of the source that have been read and not released

	files    []*atomicfile.File // finished files, and last the current one
	out      *gguf.Writer       // of the last
	buffered *bufio.Writer
}

func (w *writer) open(s *shard) error {
	for _, input := range append(slices.Clone(w.plan.file.Shards), w.plan.file.Path) {
		if sameFile(s.path, input) {
			return fmt.Errorf("%s would replace its own input: choose another name", s.path)
		}
	}
	f, err := atomicfile.Create(s.path)
	if err != nil {
		return err
	}
	w.files = append(w.files, f)
	w.buffered = bufio.NewWriterSize(f, 1<<20)
	w.out, err = gguf.NewWriterLines(w.buffered, s.meta, s.table(), gguf.Format{})
	return err
}

func (w *writer) write(ctx context.Context, s *shard) error {
	workers := pipeline[*scratch]{threads: kernels.Threads(), scratch: func() *scratch {
		return &scratch{reader: w.plan.reader}
	}}
	pieces := func(yield func(piece) bool) {
		for _, t := range s.tensors {
			if !t.pieces(yield) {
				return
			}
		}
	}
	if err := run(ctx, workers, pieces, (*scratch).convert, w.emit); err != nil {
		return err
	}
	if err := w.out.Close(); err != nil {
		return err
	}
	return w.buffered.Flush()
}

// emit writes a piece, and releases pages of the source now and then: each time that stops all threads for a moment.
func (w *writer) emit(p piece, data []byte) error {
	if p.from == 0 {
		if err := w.out.Begin(p.t.Name); err != nil {
			return err
		}
	}
	if _, err := w.out.Write(data); err != nil {
		return err
	}
	if w.kept += p.to - p.from; w.kept >= keptBytes {
		w.plan.reader.Release()
		w.kept = 0
	}
	w.written += int64(len(data))
	if w.progress != nil {
		w.progress(Progress{p.t.Name, w.written, w.size})
	}
	return nil
}

func (w *writer) abort() {
	for _, f := range w.files {
		f.Abort()
	}
}

// piece is a part of a tensor: bytes of its source that are whole rows, or whole blocks where they are only copied.
type piece struct {
	t        *Tensor
	from, to int64
}

// pieces divides the tensor. Rows of different matrices of a stack are never in one piece, as they differ in
// importance.
func (t *Tensor) pieces(yield func(piece) bool) bool {
	size := t.source.Size()
	if size == 0 {
		return true
	}
	row := size / t.source.Rows()
	if t.From == t.To {
		return cut(t, size, row*dim(t.source, 1), row*max(1, pieceBytes/row), yield)
	}
	rows := max(1, pieceWeights/t.source.Cols())
	return cut(t, size, row*dim(t.source, 1), row*rows, yield)
}

// cut cuts size bytes into pieces of at most n that do not cross multiples of stride.
func cut(t *Tensor, size, stride, n int64, yield func(piece) bool) bool {
	for from := int64(0); from < size; {
		to := min(size, from+n, (from/stride+1)*stride)
		if !yield(piece{t, from, to}) {
			return false
		}
		from = to
	}
	return true
}

// scratch is the memory of a worker.
type scratch struct {
	reader Reader
	bytes  []byte // of the source
	floats []float32
}

// convert makes the output bytes of a piece. They are in buffer, or where they were read.
func (s *scratch) convert(p piece, buffer *[]byte) ([]byte, error) {
	if p.t.From == p.t.To {
		return s.source(p, buffer)
	}
	src, err := s.source(p, &s.bytes)
	if err != nil {
		return nil, err
	}
	n := len(src) / p.t.From.BlockSize() * p.t.From.BlockLen()
	s.floats = resize(s.floats, n)
	quant.Dequantize(p.t.From, s.floats, src)
	*buffer = resize(*buffer, n/p.t.To.BlockLen()*p.t.To.BlockSize())
	quant.Quantize(p.t.To, *buffer, s.floats, int(p.t.source.Cols()), p.importance())
	if at := nonFinite(p.t.To, *buffer); at >= 0 {
		return nil, fmt.Errorf("tensor %q: %s or one near it is too large for %v", p.t.Name, p.position(at), p.t.To)
	}
	return *buffer, nil
}

// source is the bytes of a piece, checked to be finite. They may be in buffer.
func (s *scratch) source(p piece, buffer *[]byte) ([]byte, error) {
	src, err := s.reader.Read(p.t.source, p.from, p.to, buffer)
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", p.t.Name, err)
	}
	if at := nonFinite(p.t.From, src); at >= 0 {
		return nil, fmt.Errorf("tensor %q: %s is not a finite number", p.t.Name, p.position(at))
	}
	return src, nil
}

// resize is x, or a larger slice, with n elements of whatever value.
func resize[T any](x []T, n int) []T { return slices.Grow(x[:0], n)[:n] }

// nonFinite is the first weight that is not finite, or -1.
func nonFinite(t gguf.Type, data []byte) int {
	if !quant.Supported(t) {
		return -1
	}
	n := len(data) / t.BlockSize() * t.BlockLen()
	m, err := quant.NewMatrix(t, 1, n, data)
	if err != nil {
		return -1
	}
	if _, at, ok := m.FirstNonFinite(); ok {
		return at
	}
	return -1
}

// position describes the position of weight i of a piece.
func (p piece) position(i int) string {
	first := p.from / int64(p.t.From.BlockSize()) * int64(p.t.From.BlockLen())
	at := first + int64(i)
	return fmt.Sprintf("the weight in row %d, column %d", at/p.t.source.Cols(), at%p.t.source.Cols())
}

// importance is that of the columns of the piece's matrix.
func (p piece) importance() []float32 {
	if p.t.importance == nil {
		return nil
	}
	row := p.t.source.Size() / p.t.source.Rows()
	matrix := p.from / (row * dim(p.t.source, 1))
	cols := p.t.source.Cols()
	return p.t.importance[matrix*cols:][:cols]
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
