package floats

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/quant"
)

// LittleEndian is x as little-endian bytes.
func LittleEndian(x []float32) []byte {
	b := make([]byte, 4*len(x))
	for i, v := range x {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(v))
	}
	return b
}

// FirstNonFinite is the place of the first infinity or NaN, or -1.
func FirstNonFinite(x []float32) int {
	for i, v := range x {
		if v-v != 0 {
			return i
		}
	}
	return -1
}

// Encode is a matrix with so many columns, which are whole blocks, as bytes of a type.
func Encode(t gguf.Type, x []float32, cols int) []byte {
	dst := make([]byte, len(x)/t.BlockLen()*t.BlockSize())
	quant.Quantize(t, dst, x, cols, nil)
	return dst
}

// Sized is x with n values, or new memory for them.
func Sized(x []float32, n int) []float32 {
	if cap(x) < n {
		return make([]float32, n)
	}
	return x[:n]
}

// AsBytes is the memory of x.
func AsBytes(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

// Finite reports whether x is neither NaN nor infinite.
func Finite(x float64) bool { return x-x == 0 }

// Mean is the mean of numbers, NaN of none.
func Mean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

// Near reports whether two numbers differ by no more than roundings to single precision.
func Near(a, b float64) bool {
	return a == b || math.Abs(a-b) <= 2e-6*max(math.Abs(a), math.Abs(b))
}
