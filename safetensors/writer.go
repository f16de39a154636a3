package safetensors

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Item is a tensor with its data, to be written.
type Item struct {
	Name  string
	DType DType
	Shape []int64 // the slowest dimension first
	Data  []byte  // little-endian
}

// Write writes a whole file. The order of items does not matter: tensors stand in the order of the reference library,
// by type, those of wide elements first, then by name. Metadata may be nil; its keys are written in order.
func Write(w io.Writer, meta map[string]string, items []Item) error {
	tensors := make([]Tensor, len(items))
	data := make(map[string][]byte, len(items))
	for i, it := range items {
		tensors[i] = Tensor{Name: it.Name, DType: it.DType, Shape: it.Shape}
		data[it.Name] = it.Data
	}
	out, err := NewWriter(w, meta, tensors)
	if err != nil {
		return err
	}
	for _, t := range out.Tensors() {
		if err := out.WriteTensor(t.Name, data[t.Name]); err != nil {
			return err
		}
	}
	return out.Close()
}

// Writer writes a file from front to back.
type Writer struct {
	w       io.Writer
	tensors []Tensor
	next    int   // the tensor that is being written, or is to come
	begun   bool  // that tensor has been begun
	left    int64 // bytes of that tensor that are missing
	size    int64 // of the whole file
	err     error // of the underlying writer; nothing works after it
}

// NewWriter writes the header of a file with these tensors (names, types and shapes). Their data follow, by
// WriteTensor, or Begin and Write, in the order of Tensors.
func NewWriter(w io.Writer, meta map[string]string, tensors []Tensor) (*Writer, error) {
	tensors, err := arrange(tensors)
	if err != nil {
		return nil, err
	}
	header, data, err := encodeHeader(meta, tensors)
	if err != nil {
		return nil, err
	}
	out := &Writer{w: w, tensors: tensors, size: int64(len(header)) + data}
	return out, out.raw(header)
}

// arrange checks tensors and puts them into the order of the file.
func arrange(tensors []Tensor) ([]Tensor, error) {
	tensors = slices.Clone(tensors)
	names := make(map[string]bool, len(tensors))
	for i := range tensors {
		t := &tensors[i]
		_, err := t.size()
		switch {
		case err != nil:
			return nil, fmt.Errorf("safetensors: tensor %q: %w", t.Name, err)
		case t.Name == metadataKey || !utf8.ValidString(t.Name):
			return nil, fmt.Errorf("safetensors: no tensor can have the name %q", t.Name)
		case names[t.Name]:
			return nil, fmt.Errorf("safetensors: tensor %q is to be written twice", t.Name)
		}
		names[t.Name] = true
	}
	slices.SortFunc(tensors, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(b.DType.rank(), a.DType.rank()), cmp.Compare(a.Name, b.Name))
	})
	return tensors, nil
}

// encodeHeader makes the header, its size before it and padding after it, and adds up the tensors' data.
func encodeHeader(meta map[string]string, tensors []Tensor) (header []byte, data int64, err error) {
	b := append(make([]byte, 8), '{')
	if meta != nil {
		if b, err = appendMetadata(b, meta); err != nil {
			return nil, 0, err
		}
	}
	for i := range tensors {
		if len(b) > 9 {
			b = append(b, ',')
		}
		t := &tensors[i]
		b = appendTensor(b, t, data)
		if data += t.Size(); data < 0 || data > 1<<61 {
			return nil, 0, fmt.Errorf("safetensors: tensor %q: the file would be larger than the largest possible", t.Name)
		}
	}
	b = append(b, '}')
	for len(b)%8 != 0 {
		b = append(b, ' ')
	}
	if len(b)-8 > maxHeader {
		return nil, 0, fmt.Errorf("safetensors: a header of %d bytes is too large, expected at most %d", len(b)-8, maxHeader)
	}
	binary.LittleEndian.PutUint64(b, uint64(len(b)-8))
	return b, data, nil
}

func appendMetadata(b []byte, meta map[string]string) ([]byte, error) {
	keys := make([]string, 0, len(meta))
	for key, value := range meta {
		if !utf8.ValidString(key) || !utf8.ValidString(value) {
			return nil, fmt.Errorf("safetensors: metadata %q is not valid UTF-8", key)
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	b = append(b, `"`+metadataKey+`":{`...)
	for i, key := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, key), ':')
		b = appendString(b, meta[key])
	}
	return append(b, '}'), nil
}

// appendTensor appends the header entry of a tensor whose data start at off.
func appendTensor(b []byte, t *Tensor, off int64) []byte {
	b = append(appendString(b, t.Name), `:{"dtype":"`...)
	b = append(b, t.DType...)
	b = append(b, `","shape":[`...)
	for i, d := range t.Shape {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, d, 10)
	}
	b = append(b, `],"data_offsets":[`...)
	b = strconv.AppendInt(b, off, 10)
	b = append(b, ',')
	b = strconv.AppendInt(b, off+t.Size(), 10)
	return append(b, "]}"...)
}

// appendString appends a JSON string, escaped as the reference library does: quotes, backslashes and control
// characters, nothing else. (encoding/json escapes more.)
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		b = appendEscaped(b, s[i])
	}
	return append(b, '"')
}

func appendEscaped(b []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	if i := strings.IndexByte("\"\\\b\f\n\r\t", c); i >= 0 {
		return append(b, '\\', `"\bfnrt`[i])
	}
	if c < 0x20 {
		return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
	}
	return append(b, c)
}

// Tensors is the tensors in the order in which their data are to be written.
func (w *Writer) Tensors() []Tensor { return slices.Clone(w.tensors) }

// Size is the size of the whole file in bytes.
func (w *Writer) Size() int64 { return w.size }

// WriteTensor writes the data of the next tensor, which must be the one of that name.
func (w *Writer) WriteTensor(name string, data []byte) error {
	if err := w.expect(name); err != nil {
		return err
	}
	if size := w.tensors[w.next].Size(); int64(len(data)) != size {
		return fmt.Errorf("safetensors: tensor %q: %d bytes of data given, expected %d", name, len(data), size)
	}
	w.begin()
	_, err := w.Write(data)
	return err
}

// Begin says that the pieces that are written from here on are of the next tensor, which must be the one of that name.
func (w *Writer) Begin(name string) error {
	if err := w.expect(name); err != nil {
		return err
	}
	w.begin()
	return nil
}

// expect checks that the tensor of that name can be begun.
func (w *Writer) expect(name string) error {
	switch {
	case w.err != nil:
		return w.err
	case w.begun:
		return w.short()
	case w.next == len(w.tensors):
		return fmt.Errorf("safetensors: tensor %q is begun after the last one", name)
	case w.tensors[w.next].Name != name:
		return fmt.Errorf("safetensors: tensor %q is begun, the next one is %q", name, w.tensors[w.next].Name)
	}
	return nil
}

func (w *Writer) begin() {
	w.begun, w.left = true, w.tensors[w.next].Size()
	w.finish()
}

// finish goes on to the next tensor when this one is complete.
func (w *Writer) finish() {
	if w.left == 0 {
		w.begun = false
		w.next++
	}
}

// Write implements io.Writer: it writes the next piece of the tensor that has been begun.
func (w *Writer) Write(p []byte) (int, error) {
	switch {
	case w.err != nil:
		return 0, w.err
	case len(p) == 0:
		return 0, nil
	case !w.begun:
		return 0, errors.New("safetensors: data are written, but no tensor is begun or it is complete")
	case int64(len(p)) > w.left:
		return 0, fmt.Errorf("safetensors: tensor %q: %d bytes of data too many", w.tensors[w.next].Name,
			int64(len(p))-w.left)
	}
	if err := w.raw(p); err != nil {
		return 0, err
	}
	w.left -= int64(len(p))
	w.finish()
	return len(p), nil
}

// Close checks that all tensors have been written whole. It does not close the underlying writer.
func (w *Writer) Close() error {
	switch {
	case w.err != nil:
		return w.err
	case w.begun:
		return w.short()
	case w.next < len(w.tensors):
		return fmt.Errorf("safetensors: tensor %q has not been written (%d of %d have)", w.tensors[w.next].Name, w.next,
			len(w.tensors))
	}
	return nil
}

func (w *Writer) short() error {
	t := &w.tensors[w.next]
	return fmt.Errorf("safetensors: tensor %q: %d of its %d bytes of data have been written", t.Name, t.Size()-w.left,
		t.Size())
}

func (w *Writer) raw(p []byte) error {
	n, err := w.w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	w.err = err
	return err
}
