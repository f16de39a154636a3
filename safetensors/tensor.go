package safetensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/x448/float16"

	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/mapped"
)

// Tensor is a tensor of a file, or one that is to be written.
type Tensor struct {
	Name  string
	DType DType
	Shape []int64 // the slowest dimension first: …, rows, columns; none for a scalar

	data []byte
	home *home // nil for a tensor that was not read from a file
}

// home is what the tensors of a file have in common. There may be hundreds of thousands.
type home struct {
	mapped bool   // data is part of a map, not of the caller's memory
	shard  string // name of the file, where it is one of several
}

func nameOf(t *Tensor) string { return t.Name }

// Bytes is a view of the tensor's data. It must not be written to, nor used after the file is closed. It is nil for a
// tensor that was not read from a file.
func (t *Tensor) Bytes() []byte { return t.data }

// Shard is the name of the file that holds the tensor, when the model is spread over several; "" otherwise.
func (t *Tensor) Shard() string {
	if t.home == nil {
		return ""
	}
	return t.home.shard
}

// Elements is the number of elements, the product of the shape.
func (t *Tensor) Elements() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Size is the number of bytes by shape and type, 0 if these are invalid.
func (t *Tensor) Size() int64 {
	n, err := t.size()
	if err != nil {
		return 0
	}
	return n
}

// Release tells the system that the pages of the tensor's data will not be needed soon, so that a program that reads a
// large file once does not appear to hold all of it. The bytes stay valid. For a file in memory, as of Parse, it does
// nothing.
func (t *Tensor) Release() {
	if t.home != nil && t.home.mapped {
		mapped.Discard(t.data)
	}
}

// size is Size, with an error for an invalid shape or type.
func (t *Tensor) size() (int64, error) {
	bits := int64(t.DType.Bits())
	if bits == 0 {
		return 0, fmt.Errorf("the element type %q is not known", t.DType)
	}
	n := int64(1)
	for i, d := range t.Shape {
		if d < 0 {
			return 0, fmt.Errorf("dimension %d is %d, less than 0", i, d)
		}
		if d != 0 && n > math.MaxInt64/64/d {
			return 0, fmt.Errorf("the shape %v has more elements than any file can hold", t.Shape)
		}
		n *= d
	}
	if n*bits%8 != 0 {
		return 0, fmt.Errorf("%d elements of %d bits are not a whole number of bytes", n, bits)
	}
	return n * bits / 8, nil
}

// Float32s is the data as float32. F32, F16, BF16 and the 8-bit types convert exactly, F64 is rounded to the nearest.
// Integers, bools, complex numbers and types of less than 8 bits are refused, with an error that is
// errors.ErrUnsupported.
func (t *Tensor) Float32s() ([]float32, error) {
	_, width := float32From(t.DType)
	out := make([]float32, len(t.data)/max(width, 1))
	if err := t.CopyFloat32s(out, 0); err != nil {
		return nil, err
	}
	return out, nil
}

// CopyFloat32s sets dst to elements of the tensor from number first on, converted as by Float32s. The tensor must have
// enough.
func (t *Tensor) CopyFloat32s(dst []float32, first int64) error {
	convert, width := float32From(t.DType)
	if convert == nil {
		return errkind.Errorf(errors.ErrUnsupported, "safetensors: tensor %q: %s is not converted to float32", t.Name,
			t.DType)
	}
	if n := int64(len(t.data) / width); first < 0 || first > n || int64(len(dst)) > n-first {
		panic("safetensors: CopyFloat32s beyond the tensor's elements")
	}
	data := t.data[first*int64(width):]
	for i := range dst {
		dst[i] = convert(data[i*width:])
	}
	return nil
}

// float32From is the conversion of an element type and the bytes of an element; nil when there is none.
func float32From(d DType) (convert func([]byte) float32, width int) {
	le := binary.LittleEndian
	switch d {
	case F32:
		return func(b []byte) float32 { return math.Float32frombits(le.Uint32(b)) }, 4
	case F16:
		return func(b []byte) float32 { return float16.Frombits(le.Uint16(b)).Float32() }, 2
	case BF16:
		return func(b []byte) float32 { return math.Float32frombits(uint32(le.Uint16(b)) << 16) }, 2
	case F64:
		return func(b []byte) float32 { return float32(math.Float64frombits(le.Uint64(b))) }, 8
	}
	if table := float8Table(d); table != nil {
		return func(b []byte) float32 { return table[b[0]] }, 1
	}
	return nil, 0
}
