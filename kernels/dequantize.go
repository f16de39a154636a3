package kernels

// The block formats have assembly for dequantizing here. Package quant has the definitions, and its tests compare the
// bits.

// A BlockKind is a block format for which there may be assembly. F16 and BF16 are taken 16 numbers at a time.
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
	Q2_K
	Q3_K
	Q4_K
	Q5_K
	Q6_K
	IQ4_NL
	IQ4_XS
	MXFP4
	NVFP4
	TQ1_0
	TQ2_0
	Q1_0
	Q2_0
	IQ1_S
	IQ1_M
	IQ2_XXS
	IQ2_XS
	IQ2_S
	IQ3_XXS
	IQ3_S
)

// blockSizes is the weights and the bytes of a block; for the lattice formats also the bytes of all points.
var blockSizes = [...]struct{ weights, bytes, points int }{
	F16Block:  {16, 32, 0},
	BF16Block: {16, 32, 0},
	Q4_0:      {32, 18, 0},
	Q4_1:      {32, 20, 0},
	Q5_0:      {32, 22, 0},
	Q5_1:      {32, 24, 0},
	Q8_0:      {32, 34, 0},
	Q2_K:      {256, 84, 0},
	Q3_K:      {256, 110, 0},
	Q4_K:      {256, 144, 0},
	Q5_K:      {256, 176, 0},
	Q6_K:      {256, 210, 0},
	IQ4_NL:    {32, 18, 0},
	IQ4_XS:    {256, 136, 0},
	MXFP4:     {32, 17, 0},
	NVFP4:     {64, 36, 0},
	TQ1_0:     {256, 54, 0},
	TQ2_0:     {256, 66, 0},
	Q1_0:      {128, 18, 0},
	Q2_0:      {64, 18, 0},
	IQ1_S:     {256, 50, 2048 * 8},
	IQ1_M:     {256, 56, 2048 * 8},
	IQ2_XXS:   {256, 66, 256 * 8},
	IQ2_XS:    {256, 74, 512 * 8},
	IQ2_S:     {256, 82, 1024 * 8},
	IQ3_XXS:   {256, 98, 256 * 4},
	IQ3_S:     {256, 110, 512 * 4},
}

// Dequantize dequantizes as many whole blocks as src has and dst can hold, and returns the number of weights; 0 where
// there is no assembly for it. For lattice formats use [DequantizePoints].
func Dequantize(kind BlockKind, dst []float32, src []byte) (done int) {
	size := blockSizes[kind]
	blocks := min(len(dst)/size.weights, len(src)/size.bytes)
	if blocks == 0 || size.points > 0 || !dequantize(kind, blocks, dst, src) {
		return 0
	}
	return blocks * size.weights
}

// DequantizePoints is Dequantize of the lattice formats, in which the codes of four (IQ3) or eight weights (IQ2, IQ1)
// are a point of a list. points is the list: for each weight of a point, the byte that its code stands for before
// scaling. In IQ1 that is a signed number, before it is raised or lowered.
func DequantizePoints(kind BlockKind, dst []float32, src, points []byte) (done int) {
	size := blockSizes[kind]
	if len(points) != size.points {
		panic("kernels: DequantizePoints with more or fewer points than the format has")
	}
	blocks := min(len(dst)/size.weights, len(src)/size.bytes)
	if blocks == 0 || !dequantizePoints(kind, blocks, dst, src, points) {
		return 0
	}
	return blocks * size.weights
}
