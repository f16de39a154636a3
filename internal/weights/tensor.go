package weights

import (
	"encoding/binary"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/safetensors"
)

// PieceElements is how many elements a piece has, all but the last of a tensor. It is a multiple of every block length.
const PieceElements = 1 << 16

// Tensor is a tensor of a file.
type Tensor struct {
	Name  string
	Type  string  // as the file names it
	Shape []int64 // in the order of the file: the fastest dimension first in GGUF, last in safetensors
	Cols  int64   // length of the fastest dimension, 1 for a scalar

	file     *File
	data     []byte
	elements int64
	block    int64 // elements a block
	bits     int64 // bits a block
	reading
}

// reading describes how a tensor's elements are converted to numbers.
type reading struct {
	read  readFunc   // nil where the elements are not numbers of a known type
	float bool       // an element can be NaN or infinite
	kind  *gguf.Type // of blocks that package quant knows; nil for others
	swap  bool       // big-endian
}

// ofGGUF is the view of a tensor of a GGUF file. The elements of an unknown type are its bytes.
func (f *File) ofGGUF(g *gguf.Tensor) *Tensor {
	t := &Tensor{file: f, Name: g.Name, Type: g.Type.String(), Shape: g.Shape, Cols: g.Cols(), data: g.Bytes()}
	t.elements, t.block, t.bits = g.Elements(), int64(g.Type.BlockLen()), 8*int64(g.Type.BlockSize())
	if !g.Type.Known() {
		t.elements, t.block, t.bits = int64(len(t.data)), 1, 8
		return t
	}
	t.reading = readGGUF(g.Type, f.GGUF.Order == binary.BigEndian)
	return t
}

// ofSafetensors is the view of a tensor of a safetensors file.
func (f *File) ofSafetensors(s *safetensors.Tensor) *Tensor {
	t := &Tensor{file: f, Name: s.Name, Type: string(s.DType), Shape: s.Shape, Cols: 1, data: s.Bytes()}
	if n := len(s.Shape); n > 0 {
		t.Cols = max(s.Shape[n-1], 1)
	}
	t.elements, t.block, t.bits = s.Elements(), 1, int64(s.DType.Bits())
	t.reading = readSafetensors(s)
	return t
}

// Elements is the number of elements, the product of the shape; the number of bytes for an unknown type.
func (t *Tensor) Elements() int64 { return t.elements }

// Size is the number of bytes.
func (t *Tensor) Size() int64 { return int64(len(t.data)) }

// Pieces is the number of pieces, at least 1.
func (t *Tensor) Pieces() int {
	return int(max(1, (t.elements+PieceElements-1)/PieceElements))
}

// span is the elements from first to last, and the bytes from start to end, of piece i.
func (t *Tensor) span(i int) (first, last, start, end int64) {
	first = int64(i) * PieceElements
	last = min(first+PieceElements, t.elements)
	bytes := PieceElements / t.block * t.bits / 8
	start = int64(i) * bytes
	end = min(start+bytes, int64(len(t.data)))
	return first, last, start, end
}

// Piece is the bytes of piece i, in the file's byte order. They must not be written to.
func (t *Tensor) Piece(i int) []byte {
	_, _, start, end := t.span(i)
	return t.data[start:end:end]
}

// Release marks piece i as done. From time to time the pages of its file are released.
func (t *Tensor) Release(i int) {
	_, _, start, end := t.span(i)
	t.file.used(end - start)
}

// Readable says whether a [Reader] can read the elements.
func (t *Tensor) Readable() bool { return t.read != nil }
