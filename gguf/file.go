package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/byname"
	"github.com/peftconv/peftconv/internal/mapped"
)

// File is a GGUF file that is open, or one that is in memory.
type File struct {
	Path       string           // as given to Open; "" when the bytes came from memory
	Shards     []string         // paths of the files that hold the model together, in order; nil when it is a single one
	Version    uint32           // of the format
	Order      binary.ByteOrder // of the header and of the tensors' data
	Meta       *Metadata
	Tensors    []*Tensor // in the order of the table, which is the order of their data
	Alignment  int64     // of the tensors' data, in bytes
	DataOffset int64     // where the tensors' data starts, in bytes from the start of the (first) file
	Extra      int64     // bytes after the last tensor and its padding, which nothing describes

	names   byname.Index[Tensor]
	home    *home // of the tensors; nil where they are of several files
	maps    []*mapped.File
	missing int64 // padding bytes that the end of the file lacks, as some writers leave them out there
}

// Tensor is a line of a file's tensor table, and a view of the tensor's bytes.
type Tensor struct {
	Name   string
	Shape  []int64 // the fastest dimension first: columns, rows, …; none for a scalar
	Type   Type
	Offset uint64 // of the data, in bytes from where the tensors' data start in the file that holds the tensor

	data []byte
	home *home // nil for a tensor that was not read from a file
}

// home is what the tensors of a file have in common. There may be hundreds of thousands.
type home struct {
	order  binary.ByteOrder // of data
	mapped bool             // data is part of a map, not of the caller's memory
	shard  string           // path of the file, where it is one of several
}

// order is the byte order of the data; nil for a tensor that was not read from a file.
func (t *Tensor) order() binary.ByteOrder {
	if t.home == nil {
		return nil
	}
	return t.home.order
}

func nameOf(t *Tensor) string { return t.Name }

// Elements is the number of elements, the product of the shape.
func (t *Tensor) Elements() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Cols is the length of a row, the first dimension.
func (t *Tensor) Cols() int64 {
	if len(t.Shape) == 0 {
		return 1
	}
	return t.Shape[0]
}

// Rows is the number of rows, the product of all dimensions but the first.
func (t *Tensor) Rows() int64 {
	n := int64(1)
	for i := 1; i < len(t.Shape); i++ {
		n *= t.Shape[i]
	}
	return n
}

// Size is the number of bytes of the data. For a tensor of an unknown type that is what lies up to the next tensor.
func (t *Tensor) Size() int64 {
	if !t.Type.Known() {
		return int64(len(t.data))
	}
	size, err := t.size()
	if err != nil {
		return 0
	}
	return size
}

// size is Size, with an error for an invalid shape or type.
func (t *Tensor) size() (int64, error) {
	if len(t.Shape) > maxDims {
		return 0, fmt.Errorf("has %d dimensions, expected at most %d", len(t.Shape), maxDims)
	}
	n := int64(1)
	for i, d := range t.Shape {
		if d < 1 {
			return 0, fmt.Errorf("dimension %d is %d, expected at least 1", i, d)
		}
		var ok bool
		if n, ok = mul(n, d); !ok {
			return 0, fmt.Errorf("the shape %v has more elements than any file can hold", t.Shape)
		}
	}
	if !t.Type.Known() {
		return int64(len(t.data)), nil
	}
	if block := int64(t.Type.BlockLen()); t.Cols()%block != 0 {
		return 0, fmt.Errorf("rows of %d elements are not whole %v blocks of %d", t.Cols(), t.Type, block)
	}
	size, ok := mul(n/int64(t.Type.BlockLen()), int64(t.Type.BlockSize()))
	if !ok {
		return 0, fmt.Errorf("the shape %v in %v has more bytes than any file can hold", t.Shape, t.Type)
	}
	return size, nil
}

// mul is a·b for a ≥ 0 and b ≥ 1, and whether that is small enough to be a size with room to add up and pad sizes.
func mul(a, b int64) (int64, bool) {
	const limit = 1 << 60
	return a * b, a <= limit/b
}

// Bytes is a view of the tensor's data, in the file's byte order. It must not be written to, nor used after the file
// is closed. It is nil for a tensor that was not read from a file.
func (t *Tensor) Bytes() []byte { return t.data }

// Shard is the path of the file that holds the tensor, when the model is split over several; "" otherwise.
func (t *Tensor) Shard() string {
	if t.home == nil {
		return ""
	}
	return t.home.shard
}

// Release tells the system that the pages of the tensor's data will not be needed soon, so that a program that reads a
// large file once does not appear to hold all of it. The bytes stay valid. For a file in memory, as of Parse, it does
// nothing.
func (t *Tensor) Release() {
	if t.home != nil && t.home.mapped {
		mapped.Discard(t.data)
	}
}

// Tensor finds a tensor by its name; nil when there is none.
func (f *File) Tensor(name string) *Tensor { return f.names.Find(name) }

// Table is the tensors' table as [NewWriter] takes it.
func (f *File) Table() []Tensor {
	table := make([]Tensor, len(f.Tensors))
	for i, t := range f.Tensors {
		table[i] = *t
	}
	return table
}

// Lines is [File.Table] without a copy, as [NewWriterLines] takes it.
func (f *File) Lines() Lines {
	return Lines{len(f.Tensors), func(i int) Tensor { return *f.Tensors[i] }}
}

// Parse reads a file that is in memory. The tensors' data are views of data.
func Parse(data []byte) (*File, error) {
	f, err := parse(data)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Open maps the file at path and reads its header. A file that is one of several that hold a model together is opened
// with all the others. The tensors' data are views of the maps, valid until Close.
func Open(path string) (*File, error) {
	if strings.Contains(filepath.Base(path), "-of-") { // one of several, that were perhaps not all renamed
		if err := atomicfile.Settle(filepath.Dir(path)); err != nil {
			return nil, fmt.Errorf("gguf: %s: %w", path, err)
		}
	}
	f, err := OpenShard(path)
	if err != nil {
		return nil, err
	}
	no, count, err := f.split()
	if err == nil && count > 1 {
		return f.openSplit(no, count)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// OpenShard is Open for one file alone, even if it is one of several that hold a model together.
func OpenShard(path string) (*File, error) {
	m, f, err := openWhole(path)
	if err != nil {
		return nil, openError(err)
	}
	f.Path, f.maps = path, []*mapped.File{m}
	f.Release() // the header is read
	f.home.mapped = true
	return f, nil
}

// openError adds the package's name to errors that have it not.
func openError(err error) error {
	var format *FormatError
	if errors.As(err, &format) {
		return err
	}
	return fmt.Errorf("gguf: %w", err)
}

// Release is [Tensor.Release] for the whole file, with its header and with the pages that tensors share.
func (f *File) Release() {
	for _, m := range f.maps {
		mapped.Discard(m.Bytes())
	}
}

// Changed is an error if the file, or one of the files that hold the model together, was written to by another program
// since it was opened, by its size and time of change: what was read may be wrong then.
func (f *File) Changed() error {
	for _, m := range f.maps {
		if err := m.Changed(); err != nil {
			return err
		}
	}
	return nil
}

// named puts a file's path into a format error.
func named(err error, path string) error {
	var fe *FormatError
	if errors.As(err, &fe) {
		fe.File = path
	}
	return err
}

// Close unmaps the file. The tensors' data are invalid after it. A second Close does nothing.
func (f *File) Close() error {
	for _, t := range f.Tensors {
		t.data = nil
	}
	var errs []error
	for _, m := range f.maps {
		errs = append(errs, m.Close())
	}
	f.maps = nil
	return errors.Join(errs...)
}
