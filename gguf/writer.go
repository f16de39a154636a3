package gguf

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Writer writes a file from front to back.
type Writer struct {
	w         io.Writer
	alignment int64
	tensors   Lines
	next      int     // the tensor that is being written, or is to come
	begun     bool    // that tensor has been begun
	now       planned // the tensor next, where there is one
	left      int64   // bytes of that tensor that are missing
	size      int64   // of the whole file
	off       int64   // bytes written so far
	err       error   // of the underlying writer; nothing works after it
}

// planned is a tensor to be written.
type planned struct {
	name string
	size int64
}

// Lines is the table of the tensors of a file that is to be written, where it is not held as a slice: a file may have
// hundreds of thousands. At gives each of them, the same whenever it is asked.
type Lines struct {
	Len int
	At  func(i int) Tensor
}

// linesOf is a copy of a table as Lines.
func linesOf(tensors []Tensor) Lines {
	tensors = slices.Clone(tensors)
	return Lines{len(tensors), func(i int) Tensor { return tensors[i] }}
}

// NewWriter writes the header of a little-endian file of version 3: metadata in their order and the table of tensors
// (names, shapes and types; offsets are computed). The tensors' data follow in the same order, by WriteTensor, or
// Begin and Write. A tensor of an unknown type is copied as it is if it comes from a File.
func NewWriter(w io.Writer, meta *Metadata, tensors []Tensor) (*Writer, error) {
	return NewWriterFormat(w, meta, tensors, Format{})
}

// NewWriterFormat is NewWriter with a choice of version and byte order. The tensors' data are written as they are
// given: in a big-endian file they have to be big-endian (see [SwapBytes]).
func NewWriterFormat(w io.Writer, meta *Metadata, tensors []Tensor, format Format) (*Writer, error) {
	return NewWriterLines(w, meta, linesOf(tensors), format)
}

// NewWriterLines is NewWriterFormat for a table that is not copied.
func NewWriterLines(w io.Writer, meta *Metadata, tensors Lines, format Format) (*Writer, error) {
	h, err := newHeader(meta, tensors, format)
	if err != nil {
		return nil, err
	}
	return newWriter(w, h, h.size()+h.data)
}

// newWriter writes the header. Padding beyond size bytes is left out.
func newWriter(w io.Writer, h *header, size int64) (*Writer, error) {
	out := &Writer{w: w, alignment: h.alignment, tensors: h.tensors, size: size}
	if err := h.write(out.raw); err != nil {
		return nil, err
	}
	out.plan()
	return out, out.zeros(h.size() - h.bytes)
}

// plan looks up the tensor that is next.
func (w *Writer) plan() {
	if w.next < w.tensors.Len {
		t := w.tensors.At(w.next)
		size, err := t.size()
		if err != nil {
			panic("gguf: the table of tensors has changed since the header was written: " + err.Error())
		}
		w.now = planned{t.Name, size}
	}
}

// HeaderSize is the number of bytes before the tensors' data in a file of this metadata and these tensors; size is that
// of the whole file.
func HeaderSize(meta *Metadata, tensors []Tensor, format Format) (header, size int64, err error) {
	at := func(i int) Tensor { return tensors[i] }
	return HeaderSizeLines(meta, Lines{len(tensors), at}, format)
}

// HeaderSizeLines is HeaderSize for a table that is not held as a slice.
func HeaderSizeLines(meta *Metadata, tensors Lines, format Format) (header, size int64, err error) {
	h, err := newHeader(meta, tensors, format)
	if err != nil {
		return 0, 0, err
	}
	return h.size(), h.size() + h.data, nil
}

// Size is the size of the whole file in bytes.
func (w *Writer) Size() int64 { return w.size }

// WriteTensor writes the data of the next tensor, which must be the one of that name.
func (w *Writer) WriteTensor(name string, data []byte) error {
	if err := w.expect(name); err != nil {
		return err
	}
	if size := w.now.size; int64(len(data)) != size {
		return fmt.Errorf("gguf: tensor %q: %d bytes of data given, expected %d", name, len(data), size)
	}
	if err := w.begin(); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}

// Begin begins the next tensor, which must be the one of that name. Write then writes its pieces.
func (w *Writer) Begin(name string) error {
	if err := w.expect(name); err != nil {
		return err
	}
	return w.begin()
}

// expect checks that the tensor of that name can be begun.
func (w *Writer) expect(name string) error {
	switch {
	case w.err != nil:
		return w.err
	case w.begun:
		return w.short()
	case w.next == w.tensors.Len:
		return fmt.Errorf("gguf: tensor %q is begun after the last one", name)
	case w.now.name != name:
		return fmt.Errorf("gguf: tensor %q is begun, the next one is %q", name, w.now.name)
	}
	return nil
}

func (w *Writer) begin() error {
	w.begun, w.left = true, w.now.size
	return w.finish()
}

// Write implements io.Writer: it writes the next piece of the tensor that has been begun.
func (w *Writer) Write(p []byte) (int, error) {
	switch {
	case w.err != nil:
		return 0, w.err
	case len(p) == 0:
		return 0, nil
	case !w.begun:
		return 0, errors.New("gguf: data are written, but no tensor is begun or it is complete")
	case int64(len(p)) > w.left:
		return 0, fmt.Errorf("gguf: tensor %q: %d bytes of data too many", w.now.name, int64(len(p))-w.left)
	}
	if err := w.raw(p); err != nil {
		return 0, err
	}
	w.left -= int64(len(p))
	return len(p), w.finish()
}

// finish pads the tensor and goes on to the next when it is complete.
func (w *Writer) finish() error {
	if w.left > 0 {
		return nil
	}
	n := pad(w.now.size, w.alignment)
	w.begun = false
	w.next++
	w.plan()
	return w.zeros(n)
}

func (w *Writer) zeros(n int64) error {
	n = min(n, w.size-w.off)
	var zeros [4096]byte
	for n > 0 {
		p := zeros[:min(n, int64(len(zeros)))]
		if err := w.raw(p); err != nil {
			return err
		}
		n -= int64(len(p))
	}
	return nil
}

// Close checks that all tensors have been written whole. It does not close the underlying writer.
func (w *Writer) Close() error {
	switch {
	case w.err != nil:
		return w.err
	case w.begun:
		return w.short()
	case w.next < w.tensors.Len:
		return fmt.Errorf("gguf: tensor %q has not been written (%d of %d have)", w.now.name, w.next, w.tensors.Len)
	}
	return nil
}

func (w *Writer) short() error {
	t := w.now
	return fmt.Errorf("gguf: tensor %q: %d of its %d bytes of data have been written", t.name, t.size-w.left, t.size)
}

func (w *Writer) raw(p []byte) error {
	n, err := w.w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	w.off += int64(n)
	w.err = err
	return err
}

// WriteTo writes the file as it was read: the same metadata and tensors in the same version and byte order. The output
// equals the file that was read, except for bytes that nothing describes (Extra). A model that is split over several
// files is written as one, without the split metadata. It implements io.WriterTo.
func (f *File) WriteTo(w io.Writer) (int64, error) {
	meta := f.Meta
	if f.Shards != nil {
		meta = meta.Clone()
		meta.RemoveSplit()
	}
	h, err := newHeader(meta, f.Lines(), Format{f.Version, f.Order})
	if err != nil {
		return 0, err
	}
	out, err := newWriter(w, h, h.size()+h.data-f.missing)
	if err != nil {
		return 0, err
	}
	for _, t := range f.Tensors {
		if err := out.WriteTensor(t.Name, t.data); err != nil {
			return out.off, err
		}
	}
	return out.off, out.Close()
}

// header is a file's header that is to be written. It is made piece by piece, twice: to be measured, then written.
type header struct {
	meta      *Metadata
	tensors   Lines
	format    Format
	alignment int64
	bytes     int64 // without the padding at its end
	data      int64 // bytes of tensor data, with padding
}

// size is the number of bytes with the padding.
func (h *header) size() int64 {
	return h.bytes + pad(h.bytes, h.alignment)
}

// newHeader checks metadata and tensors against the rules of the format and makes the header.
func newHeader(meta *Metadata, tensors Lines, format Format) (*header, error) {
	if meta == nil {
		meta = &Metadata{}
	}
	format = format.orDefault()
	if format.Version > maxVersion {
		return nil, fmt.Errorf("gguf: version %d cannot be written, expected 1 to %d", format.Version, maxVersion)
	}
	align, err := alignment(meta)
	if err != nil {
		return nil, fmt.Errorf("gguf: key %q: %w", keyAlignment, err)
	}
	h := &header{meta: meta, tensors: tensors, format: format, alignment: align}
	if err := h.check(); err != nil {
		return nil, err
	}
	return h, h.write(func(p []byte) error {
		h.bytes += int64(len(p))
		return nil
	})
}

// pieceBytes is about how many bytes of a header are made at a time.
const pieceBytes = 1 << 18

// write makes the header without the padding at its end, piece by piece.
func (h *header) write(put func([]byte) error) error {
	e := encoder{h.format}
	b := append(make([]byte, 0, pieceBytes+pieceBytes/4), magic...)
	b = e.uint32(b, h.format.Version)
	b = e.word(b, uint64(h.tensors.Len))
	b = e.word(b, uint64(h.meta.Len()))
	flush := func(least int) error {
		if len(b) < least {
			return nil
		}
		err := put(b)
		b = b[:0]
		return err
	}
	for key, v := range h.meta.All() {
		b = e.value(e.string(b, key), v)
		if err := flush(pieceBytes); err != nil {
			return err
		}
	}
	offset := int64(0)
	for i := range h.tensors.Len {
		t := h.tensors.At(i)
		b = e.line(b, &t, offset)
		size, _ := t.size() // which has been checked
		offset += size + pad(size, h.alignment)
		if err := flush(pieceBytes); err != nil {
			return err
		}
	}
	return flush(0)
}

// check checks the tensors and adds up their sizes.
func (h *header) check() error {
	for i := range h.tensors.Len {
		t := h.tensors.At(i)
		size, err := t.size()
		if err == nil {
			err = checkTensor(&t, h.format)
		}
		if err != nil {
			return fmt.Errorf("gguf: tensor %q: %w", t.Name, err)
		}
		if h.data += size + pad(size, h.alignment); h.data > 1<<61 {
			return fmt.Errorf("gguf: tensor %q: the file would be larger than the largest possible", t.Name)
		}
	}
	return h.unique()
}

// unique checks that no name occurs twice. It sorts places, which takes four bytes a tensor.
func (h *header) unique() error {
	name := func(i int32) string { return h.tensors.At(int(i)).Name }
	order := make([]int32, h.tensors.Len)
	sorted := true
	last := ""
	for i := range order {
		order[i] = int32(i)
		now := name(int32(i))
		sorted = sorted && (i == 0 || last < now)
		last = now
	}
	if sorted {
		return nil
	}
	slices.SortFunc(order, func(a, b int32) int { return strings.Compare(name(a), name(b)) })
	for i := 1; i < len(order); i++ {
		if twin := name(order[i]); twin == name(order[i-1]) {
			return fmt.Errorf("gguf: tensor %q: the name occurs twice", twin)
		}
	}
	return nil
}

// checkTensor checks everything but the tensor's own size.
func checkTensor(t *Tensor, format Format) error {
	switch {
	case len(t.Name) > maxName:
		return fmt.Errorf("the name has %d bytes, expected at most %d", len(t.Name), maxName)
	case !t.Type.Known() && t.data == nil:
		return fmt.Errorf("the size of %v is not known", t.Type)
	}
	for i, d := range t.Shape {
		if format.Version == 1 && d > math.MaxUint32 {
			return fmt.Errorf("dimension %d is %d, version 1 holds at most %d", i, d, uint32(math.MaxUint32))
		}
	}
	return nil
}

// line appends a line of the table; offset is that of the tensor's data.
func (e encoder) line(b []byte, t *Tensor, offset int64) []byte {
	b = e.string(b, t.Name)
	b = e.uint32(b, uint32(len(t.Shape)))
	for _, d := range t.Shape {
		b = e.word(b, uint64(d))
	}
	b = e.uint32(b, uint32(t.Type))
	return e.uint64(b, uint64(offset))
}
