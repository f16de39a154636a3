package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/x448/float16"

	"github.com/peftconv/peftconv/internal/errkind"
)

// A BlockDecoder sets dst to the elements of the blocks of src, which are little-endian. dst is a whole number of
// blocks, and src holds exactly these.
type BlockDecoder func(dst []float32, src []byte)

var (
	decodersMutex sync.RWMutex
	decoders      = map[Type]BlockDecoder{}
)

// RegisterBlocks says how the blocks of a type are decoded by [Tensor.Float32s]. Package quant registers all types that
// it knows when it is imported: import _ "github.com/peftconv/peftconv/quant". Registering a type twice is the caller's
// bug and panics, and so is registering one of those that need no decoder: floats and integers.
func RegisterBlocks(t Type, decode BlockDecoder) {
	decodersMutex.Lock()
	defer decodersMutex.Unlock()
	if _, plain := numbers[t]; plain {
		panic("gguf: RegisterBlocks of a type of plain numbers")
	}
	if decoders[t] != nil {
		panic("gguf: RegisterBlocks of a type twice")
	}
	decoders[t] = decode
}

func decoderOf(t Type) BlockDecoder {
	decodersMutex.RLock()
	defer decodersMutex.RUnlock()
	return decoders[t]
}

// numbers are the types whose elements are plain numbers: how one is read, in either byte order.
var numbers = map[Type]func(b []byte, order binary.ByteOrder) float32{
	F32: func(b []byte, order binary.ByteOrder) float32 { return math.Float32frombits(order.Uint32(b)) },
	F16: func(b []byte, order binary.ByteOrder) float32 { return float16.Frombits(order.Uint16(b)).Float32() },
	BF16: func(b []byte, order binary.ByteOrder) float32 {
		return math.Float32frombits(uint32(order.Uint16(b)) << 16)
	},
	F64: func(b []byte, order binary.ByteOrder) float32 { return float32(math.Float64frombits(order.Uint64(b))) },
	I8:  func(b []byte, _ binary.ByteOrder) float32 { return float32(int8(b[0])) },
	I16: func(b []byte, order binary.ByteOrder) float32 { return float32(int16(order.Uint16(b))) },
	I32: func(b []byte, order binary.ByteOrder) float32 { return float32(int32(order.Uint32(b))) },
	I64: func(b []byte, order binary.ByteOrder) float32 { return float32(int64(order.Uint64(b))) },
}

// Float32s is the tensor's elements as float32, row after row, from a file of either byte order. F32, F16 and BF16
// convert exactly, F64 and integers are rounded to the nearest. Blocks are decoded by what [RegisterBlocks] has
// registered: a program that wants them imports package quant. A type that nothing decodes, or whose blocks are not
// defined in big-endian files, is an error that is errors.ErrUnsupported.
func (t *Tensor) Float32s() ([]float32, error) {
	if err := t.checkFloats(); err != nil {
		return nil, err
	}
	out := make([]float32, t.Elements())
	return out, t.CopyFloat32s(out, 0)
}

// CopyFloat32s sets dst to the elements from number first on, converted as [Tensor.Float32s] does. The tensor must have
// as many, and of a block type first and len(dst) are whole blocks.
func (t *Tensor) CopyFloat32s(dst []float32, first int64) error {
	if err := t.checkFloats(); err != nil {
		return err
	}
	block, size := int64(t.Type.BlockLen()), int64(t.Type.BlockSize())
	if n := t.Elements(); first < 0 || first > n || int64(len(dst)) > n-first {
		panic("gguf: CopyFloat32s beyond the tensor's elements")
	}
	if first%block != 0 || int64(len(dst))%block != 0 {
		panic("gguf: CopyFloat32s of a part of a block")
	}
	data := t.data[first/block*size:][:int64(len(dst))/block*size]
	if number := numbers[t.Type]; number != nil {
		for i := range dst {
			dst[i] = number(data[int64(i)*size:], t.order())
		}
		return nil
	}
	t.decodeBlocks(dst, data)
	return nil
}

// decodeBlocks decodes blocks, those of a big-endian file some at a time in a copy that is turned around.
func (t *Tensor) decodeBlocks(dst []float32, data []byte) {
	decode := decoderOf(t.Type)
	if t.order() != binary.BigEndian {
		decode(dst, data)
		return
	}
	const some = 64
	block, size := t.Type.BlockLen(), t.Type.BlockSize()
	turned := make([]byte, 0, some*size)
	for part := range slices.Chunk(data, some*size) {
		turned = append(turned[:0], part...)
		if err := SwapBytes(t.Type, turned); err != nil {
			panic("gguf: the byte order of a type that was checked cannot be changed")
		}
		n := len(part) / size * block
		decode(dst[:n], turned)
		dst = dst[n:]
	}
}

// checkFloats says why a tensor's elements cannot be had as float32.
func (t *Tensor) checkFloats() error {
	if t.data == nil {
		return fmt.Errorf("gguf: tensor %q: there are no data: it was not read from a file, or the file is closed", t.Name)
	}
	if numbers[t.Type] != nil {
		return nil
	}
	if decoderOf(t.Type) == nil {
		return errkind.Errorf(errors.ErrUnsupported, "gguf: tensor %q: nothing that the program imports decodes %v", t.Name,
			t.Type)
	}
	if t.order() == binary.BigEndian {
		if err := SwapBytes(t.Type, nil); err != nil {
			return fmt.Errorf("tensor %q in a big-endian file: %w", t.Name, err)
		}
	}
	return nil
}
