package quant_test

import (
	"fmt"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/quant"
)

func ExampleQuantize() {
	x := make([]float32, 32)
	for i := range x {
		x[i] = float32(i-16) / 16
	}
	blocks := make([]byte, 34)
	quant.Quantize(gguf.Q8_0, blocks, x, len(x), nil)

	y := make([]float32, 32)
	quant.Dequantize(gguf.Q8_0, y, blocks)
	fmt.Printf("%.4f %.4f %.4f\n", y[0], y[1], y[31])
	// Output: -0.9999 -0.9370 0.9370
}

func ExampleMatrix_Tile() {
	const rows, cols = 4, 512
	x := make([]float32, rows*cols)
	for i := range x {
		x[i] = float32(i)
	}
	data := make([]byte, 4*len(x))
	quant.Quantize(gguf.F32, data, x, cols, nil)
	w, err := quant.NewMatrix(gguf.F32, rows, cols, data)
	if err != nil {
		fmt.Println(err)
		return
	}

	tile := make([]float32, 2*256) // rows 1 and 2, the second 256 columns
	w.Tile(tile, 256, 1, 3, 256, 512)
	fmt.Println(tile[0], tile[256])
	// Output: 768 1280
}
