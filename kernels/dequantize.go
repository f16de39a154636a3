package kernels

// The block formats that dequantizing is most often called for have assembly here. Package quant has the definitions, and
// its tests compare the bits.

// A BlockKind is a block format for which there may be assembly. F16Block and BF16Block are 16 numbers at a time.
type BlockKind int

// The kinds of blocks.
const (
	F16Block BlockKind = iota
	BF16Block
	Q4_0
	Q4_1
	Q5_0
	Q5_1
	Q8_0
	Q4_K
	Q5_K
	Q6_K
)

// blockSizes is the weights and the bytes of a block.
var blockSizes = [...]struct{ weights, bytes int }{
	F16Block:  {16, 32},
	BF16Block: {16, 32},
	Q4_0:      {32, 18},
	Q4_1:      {32, 20},
	Q5_0:      {32, 22},
	Q5_1:      {32, 24},
	Q8_0:      {32, 34},
	Q4_K:      {256, 144},
	Q5_K:      {256, 176},
	Q6_K:      {256, 210},
}

// Dequantize sets as much of dst as whole blocks of src fill to their weights, and returns how many weights these are: 0 where
// there is no assembly to do it.
func Dequantize(kind BlockKind, dst []float32, src []byte) (done int) {
	size := blockSizes[kind]
	blocks := min(len(dst)/size.weights, len(src)/size.bytes)
	if blocks == 0 || !dequantize(kind, blocks, dst, src) {
		return 0
	}
	return blocks * size.weights
}
