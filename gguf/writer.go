package gguf

import (
	"errors"
	"fmt"
	"io"
	"math"
)

// Writer writes a file from front to back.
type Writer struct {
	w         io.Writer
	alignment int64
	tensors   []planned
	next      int   // the tensor that is being written, or is to come
	begun     bool  // that tensor has been begun
	left      int64 // bytes of that tensor that are missing
	size      int64 // of the whole file
	off       int64 // bytes written so far
	err       error // of the underlying writer; nothing works after it
}

// planned is a tensor to be written.
type planned struct {
	name string
	size int64
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
	h, err := newHeader(meta, tensors, format)
	if err != nil {
		return nil, err
	}
	return newWriter(w, h, h.size()+h.data)
}

// newWriter writes the header. Padding beyond size bytes is left out.
func newWriter(w io.Writer, h *header, size int64) (*Writer, error) {
	out := &Writer{w: w, alignment: h.alignment, tensors: h.tensors, size: size}
	if err := out.raw(h.bytes); err != nil {
		return nil, err
	}
	return out, out.zeros(h.size() - int64(len(h.bytes)))
}

// HeaderSize is the number of bytes before the tensors' data in a file of this metadata and these tensors; size is that
// of the whole file.
func HeaderSize(meta *Metadata, tensors []Tensor, format Format) (header, size int64, err error) {
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
	if size := w.tensors[w.next].size; int64(len(data)) != size {
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
	case w.next == len(w.tensors):
		return fmt.Errorf("gguf: tensor %q is begun after the last one", name)
	case w.tensors[w.next].name != name:
		return fmt.Errorf("gguf: tensor %q is begun, the next one is %q", name, w.tensors[w.next].name)
	}
	return nil
}

func (w *Writer) begin() error {
	w.begun, w.left = true, w.tensors[w.next].size
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
		return 0, fmt.Errorf("gguf: tensor %q: %d bytes of data too many", w.tensors[w.next].name, int64(len(p))-w.left)
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
	n := pad(w.tensors[w.next].size, w.alignment)
	w.begun = false
	w.next++
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
	case w.next < len(w.tensors):
		return fmt.Errorf("gguf: tensor %q has not been written (%d of %d have)", w.tensors[w.next].name, w.next,
			len(w.tensors))
	}
	return nil
}

func (w *Writer) short() error {
	t := w.tensors[w.next]
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
	h, err := newHeader(meta, f.Table(), Format{f.Version, f.Order})
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

// header is a file's header under construction.
type header struct {
	bytes     []byte // without the padding at its end
	alignment int64
	tensors   []planned
	data      int64 // bytes of tensor data, with padding
}

// size is the number of bytes with the padding.
func (h *header) size() int64 {
	n := int64(len(h.bytes))
	return n + pad(n, h.alignment)
}

// newHeader checks metadata and tensors against the rules of the format and makes the header.
func newHeader(meta *Metadata, tensors []Tensor, format Format) (*header, error) {
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
	h := &header{alignment: align}
	h.begin(meta, len(tensors), format)
	return h, h.table(tensors, format)
}

// begin appends everything before the tensor table.
func (h *header) begin(meta *Metadata, tensors int, format Format) {
	e := encoder{format}
	b := append(h.bytes, magic...)
	b = e.uint32(b, format.Version)
	b = e.word(b, uint64(tensors))
	b = e.word(b, uint64(meta.Len()))
	for key, v := range meta.All() {
		b = e.value(e.string(b, key), v)
	}
	h.bytes = b
}

// table appends the tensor table and plans the data.
func (h *header) table(tensors []Tensor, format Format) error {
	names := make(map[string]bool, len(tensors))
	for i := range tensors {
		t := &tensors[i]
		size, err := t.size()
		if err == nil {
			err = checkTensor(t, names[t.Name], format)
		}
		if err != nil {
			return fmt.Errorf("gguf: tensor %q: %w", t.Name, err)
		}
		names[t.Name] = true
		h.line(t, format)
		h.tensors = append(h.tensors, planned{t.Name, size})
		if h.data += size + pad(size, h.alignment); h.data > 1<<61 {
			return fmt.Errorf("gguf: tensor %q: the file would be larger than the largest possible", t.Name)
		}
	}
	return nil
}

// checkTensor checks everything but the tensor's own size.
func checkTensor(t *Tensor, twice bool, format Format) error {
	switch {
	case len(t.Name) > maxName:
		return fmt.Errorf("the name has %d bytes, expected at most %d", len(t.Name), maxName)
	case twice:
		return errors.New("the name occurs twice")
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

// line appends a line of the table.
func (h *header) line(t *Tensor, format Format) {
	e := encoder{format}
	b := e.string(h.bytes, t.Name)
	b = e.uint32(b, uint32(len(t.Shape)))
	for _, d := range t.Shape {
		b = e.word(b, uint64(d))
	}
	b = e.uint32(b, uint32(t.Type))
	h.bytes = e.uint64(b, uint64(h.data))
}
