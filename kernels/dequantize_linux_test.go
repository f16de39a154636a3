package kernels

import (
	"testing"
	"unsafe"
)

// Blocks that end where memory does are dequantized, and nothing behind them is read or written.
func TestDequantizeAtPageEnd(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for kind, size := range blockSizes {
			for blocks := 0; blocks <= 8; blocks += 4 {
				memory := atPageEnd(t, make([]float32, blocks*size.bytes/4))
				src := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(memory))), blocks*size.bytes)
				dst := atPageEnd(t, make([]float32, blocks*size.weights))
				if done := dequantizeAny(BlockKind(kind), dst, src); done != len(dst) && current > tierGeneric {
					t.Errorf("kind %d: %d of %d weights were dequantized", kind, done, len(dst))
				}
			}
		}
	})
}

// dequantizeAny gives the formats of points some.
func dequantizeAny(kind BlockKind, dst []float32, src []byte) (done int) {
	if points := blockSizes[kind].points; points > 0 {
		return DequantizePoints(kind, dst, src, make([]byte, points))
	}
	return Dequantize(kind, dst, src)
}

// Weights that end where memory does are quantized, and nothing behind them is read or written.
func TestQuantizeAtPageEnd(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, kind := range []BlockKind{F16Block, BF16Block, Q8_0, Q4_0, Q5_0} {
			size := blockSizes[kind]
			for blocks := 0; blocks <= 8; blocks += 4 {
				memory := atPageEnd(t, make([]float32, blocks*size.bytes/4))
				dst := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(memory))), blocks*size.bytes)
				src := atPageEnd(t, randoms(blocks*size.weights, 3))
				if done := Quantize(kind, dst, src); done != len(src) && GroupLanes() > 0 {
					t.Errorf("kind %d: %d of %d weights were quantized", kind, done, len(src))
				}
			}
		}
	})
}

// Blocks that end where memory does are multiplied with rows, and nothing behind them is read.
func TestProductsAtPageEnd(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for kind := range halfPlaces {
			for _, shape := range [][3]int{{1, 4, 256}, {1, 7, 512}, {5, 4, 256}, {1, 8, 2048}} {
				n, rows, cols := shape[0], shape[1], shape[2]
				size := rows * cols / blockSizes[kind].weights * blockSizes[kind].bytes
				memory := atPageEnd(t, make([]float32, size/4))
				w := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(memory))), size)
				var r Rounded
				r.Round(make([]float32, n*cols), n, cols, kind)
				r.Multiply(Product{Y: make([]float32, n*rows), W: codedBlocks{kind, rows, cols, w}})
			}
		}
	})
}
