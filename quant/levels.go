package quant

// What the levels of a block stand for before scaling. A table is faster than an integer conversion, and where its index
// has all the bits of its type or is masked to the table's length no bound is checked.
var (
	nibbles       = [16]float32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	signedNibbles = [16]float32{-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7}
	fiveBits      [32]float32  // 0 … 31
	signedFive    [32]float32  // -16 … 15
	signedSix     [64]float32  // -32 … 31
	signedBytes   [256]float32 // of int8
)

func init() {
	for i := range fiveBits {
		fiveBits[i] = float32(i)
		signedFive[i] = float32(i - 16)
	}
	for i := range signedSix {
		signedSix[i] = float32(i - 32)
	}
	for i := range signedBytes {
		signedBytes[i] = float32(int8(i))
	}
}
