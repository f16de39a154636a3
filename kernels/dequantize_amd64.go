//go:build !purego

package kernels

//go:noescape
func dequantizeF16AVX512(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeF16AVX2(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeBF16AVX512(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeBF16AVX2(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ4_0AVX512(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ4_0AVX2(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ4_1AVX512(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ4_1AVX2(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ5_0AVX512(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ5_1AVX512(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ5_0AVX2(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ5_1AVX2(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ8_0AVX512(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ8_0AVX2(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ4_KAVX512(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ4_KAVX2(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ5_KAVX512(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ5_KAVX2(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ6_KAVX512(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ6_KAVX2(blocks int, dst *float32, src *uint8)

// dequantize is Dequantize of so many blocks, at least one, and whether it was done.
func dequantize(kind BlockKind, blocks int, dst []float32, src []byte) bool {
	switch current {
	case tierAVX512:
		dequantizeAVX512(kind, blocks, &dst[0], &src[0])
		return true
	case tierAVX2:
		dequantizeAVX2(kind, blocks, &dst[0], &src[0])
		return true
	}
	return false
}

func dequantizeAVX512(kind BlockKind, blocks int, dst *float32, src *uint8) {
	switch kind {
	case F16Block:
		dequantizeF16AVX512(blocks, dst, src)
	case BF16Block:
		dequantizeBF16AVX512(blocks, dst, src)
	case Q4_0:
		dequantizeQ4_0AVX512(blocks, dst, src)
	case Q4_1:
		dequantizeQ4_1AVX512(blocks, dst, src)
	case Q5_0:
		dequantizeQ5_0AVX512(blocks, dst, src)
	case Q5_1:
		dequantizeQ5_1AVX512(blocks, dst, src)
	case Q8_0:
		dequantizeQ8_0AVX512(blocks, dst, src)
	case Q4_K:
		dequantizeQ4_KAVX512(blocks, dst, src)
	case Q5_K:
		dequantizeQ5_KAVX512(blocks, dst, src)
	case Q6_K:
		dequantizeQ6_KAVX512(blocks, dst, src)
	}
}

func dequantizeAVX2(kind BlockKind, blocks int, dst *float32, src *uint8) {
	switch kind {
	case F16Block:
		dequantizeF16AVX2(blocks, dst, src)
	case BF16Block:
		dequantizeBF16AVX2(blocks, dst, src)
	case Q4_0:
		dequantizeQ4_0AVX2(blocks, dst, src)
	case Q4_1:
		dequantizeQ4_1AVX2(blocks, dst, src)
	case Q5_0:
		dequantizeQ5_0AVX2(blocks, dst, src)
	case Q5_1:
		dequantizeQ5_1AVX2(blocks, dst, src)
	case Q8_0:
		dequantizeQ8_0AVX2(blocks, dst, src)
	case Q4_K:
		dequantizeQ4_KAVX2(blocks, dst, src)
	case Q5_K:
		dequantizeQ5_KAVX2(blocks, dst, src)
	case Q6_K:
		dequantizeQ6_KAVX2(blocks, dst, src)
	}
}
