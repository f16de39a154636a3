package weights

import (
	"encoding/binary"
	"math"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/quant"
	"github.com/peftconv/peftconv/safetensors"
)

// A Reader converts pieces of tensors to numbers. It may be used by one goroutine at a time. The zero Reader is ready
// to use.
type Reader struct {
	numbers []float64
	single  []float32
	swapped []byte
}

// readFunc sets dst to the elements from number first on, whose bytes are data.
type readFunc func(r *Reader, dst []float64, first int64, data []byte)

// Numbers is the elements of piece i of a tensor that is Readable. The slice is the Reader's, valid until its next use.
func (r *Reader) Numbers(t *Tensor, i int) []float64 {
	first, last, start, end := t.span(i)
	r.numbers = grow(r.numbers, int(last-first))
	t.read(r, r.numbers, first, t.data[start:end])
	return r.numbers
}

// Singles is Numbers for the types whose numbers are float32 (blocks, halves and F32 itself); nil for others.
func (r *Reader) Singles(t *Tensor, i int) []float32 {
	if t.kind == nil {
		return nil
	}
	first, last, start, end := t.span(i)
	return r.blocks(*t.kind, t.swap, int(last-first), t.data[start:end])
}

func (r *Reader) blocks(t gguf.Type, swap bool, n int, data []byte) []float32 {
	if swap {
		data = r.littleEndian(t, data)
	}
	r.single = grow(r.single, n)
	quant.Dequantize(t, r.single, data)
	return r.single
}

// FirstNonFinite is the index in the tensor of the first element of piece i that is NaN or infinite; for block types,
// of one in the same block. It is -1 if there is none.
func (r *Reader) FirstNonFinite(t *Tensor, i int) int64 {
	first, last, start, end := t.span(i)
	switch {
	case !t.float || first == last:
		return -1
	case t.kind != nil:
		return r.wildBlock(t, first, last, t.data[start:end])
	}
	for j, x := range r.Numbers(t, i) {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return first + int64(j)
		}
	}
	return -1
}

// wildBlock is FirstNonFinite for the types that package quant knows.
func (r *Reader) wildBlock(t *Tensor, first, last int64, data []byte) int64 {
	if t.swap {
		data = r.littleEndian(*t.kind, data)
	}
	m, err := quant.NewMatrix(*t.kind, 1, int(last-first), data)
	if err != nil {
		panic("weights: a piece is no whole blocks")
	}
	if _, col, ok := m.FirstNonFinite(); ok {
		return first + int64(col)
	}
	return -1
}

// littleEndian is a byte-swapped copy of big-endian blocks.
func (r *Reader) littleEndian(t gguf.Type, data []byte) []byte {
	r.swapped = append(r.swapped[:0], data...)
	if err := gguf.SwapBytes(t, r.swapped); err != nil {
		panic("weights: the byte order of a readable tensor cannot be changed")
	}
	return r.swapped
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// readGGUF is how the elements of a type are read.
func readGGUF(t gguf.Type, swap bool) reading {
	var order binary.ByteOrder = binary.LittleEndian
	if swap {
		order = binary.BigEndian
	}
	switch t {
	case gguf.F64:
		return floats(8, func(b []byte) float64 { return math.Float64frombits(order.Uint64(b)) })
	case gguf.I8:
		return integers(1, func(b []byte) float64 { return float64(int8(b[0])) })
	case gguf.I16:
		return integers(2, func(b []byte) float64 { return float64(int16(order.Uint16(b))) })
	case gguf.I32:
		return integers(4, func(b []byte) float64 { return float64(int32(order.Uint32(b))) })
	case gguf.I64:
		return integers(8, func(b []byte) float64 { return float64(int64(order.Uint64(b))) })
	}
	if !quant.Supported(t) || swap && gguf.SwapBytes(t, nil) != nil {
		return reading{}
	}
	return reading{readBlocks(t, swap), true, &t, swap}
}

func floats(width int, number func(b []byte) float64) reading {
	return reading{read: each(width, number), float: true}
}

func integers(width int, number func(b []byte) float64) reading {
	return reading{read: each(width, number)}
}

// each reads elements of a fixed width one by one.
func each(width int, number func(b []byte) float64) readFunc {
	return func(_ *Reader, dst []float64, _ int64, data []byte) {
		for i := range dst {
			dst[i] = number(data[i*width:])
		}
	}
}

// readBlocks reads the types that package quant knows.
func readBlocks(t gguf.Type, swap bool) readFunc {
	return func(r *Reader, dst []float64, _ int64, data []byte) {
		widen(dst, r.blocks(t, swap, len(dst), data))
	}
}

func widen(dst []float64, src []float32) {
	for i, x := range src {
		dst[i] = float64(x)
	}
}

// sameTypes are the element types of safetensors that GGUF has too.
var sameTypes = map[safetensors.DType]gguf.Type{
	safetensors.F32: gguf.F32, safetensors.F16: gguf.F16, safetensors.BF16: gguf.BF16, safetensors.F64: gguf.F64,
	safetensors.I8: gguf.I8, safetensors.I16: gguf.I16, safetensors.I32: gguf.I32, safetensors.I64: gguf.I64,
}

// readSafetensors is how the elements of a tensor of a safetensors file are read.
func readSafetensors(t *safetensors.Tensor) reading {
	if same, ok := sameTypes[t.DType]; ok {
		return readGGUF(same, false)
	}
	le := binary.LittleEndian
	switch t.DType {
	case safetensors.Bool, safetensors.U8:
		return integers(1, func(b []byte) float64 { return float64(b[0]) })
	case safetensors.U16:
		return integers(2, func(b []byte) float64 { return float64(le.Uint16(b)) })
	case safetensors.U32:
		return integers(4, func(b []byte) float64 { return float64(le.Uint32(b)) })
	case safetensors.U64:
		return integers(8, func(b []byte) float64 { return float64(le.Uint64(b)) })
	case safetensors.F8E4M3, safetensors.F8E5M2, safetensors.F8E8M0, safetensors.F8E4M3FNUZ, safetensors.F8E5M2FNUZ:
		return reading{read: readFloat8(t), float: true}
	}
	return reading{} // complex numbers and parts of bytes
}

func readFloat8(t *safetensors.Tensor) readFunc {
	return func(r *Reader, dst []float64, first int64, _ []byte) {
		r.single = grow(r.single, len(dst))
		if err := t.CopyFloat32s(r.single, first); err != nil {
			panic("weights: an 8-bit float is not converted")
		}
		widen(dst, r.single)
	}
}
