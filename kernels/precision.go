package kernels

// A Precision is how the numbers that go into a product are rounded. Sums are float32 with every one.
type Precision int

// The precisions. A product with weights that there is no faster way for on this processor goes by the next more
// precise one that there is.
const (
	F32  Precision = iota // not at all
	BF16                  // to bfloat16, nearest, ties to even
	Int8                  // to 8 bits and a scale a block
)

// String is "f32", "bf16" or "int8".
func (p Precision) String() string { return [...]string{"f32", "bf16", "int8"}[p] }

// HasBF16 says whether the processor multiplies bfloat16 numbers, on the current tier: a product of them is then faster
// than one of float32.
func HasBF16() bool { return hasBF16() }
