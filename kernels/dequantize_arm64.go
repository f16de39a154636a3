//go:build !purego

package kernels

//go:noescape
func dequantizeF16NEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeBF16NEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ8_0NEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ4_0NEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ4_KNEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ5_KNEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ6_KNEON(blocks int, dst *float32, src *uint8)

// dequantize is Dequantize of this many blocks, at least one; it reports whether there is assembly for it.
func dequantize(kind BlockKind, blocks int, dst []float32, src []byte) bool {
	if current != tierNEON {
		return false
	}
	switch kind {
	case F16Block:
		dequantizeF16NEON(blocks, &dst[0], &src[0])
	case BF16Block:
		dequantizeBF16NEON(blocks, &dst[0], &src[0])
	case Q8_0:
		dequantizeQ8_0NEON(blocks, &dst[0], &src[0])
	case Q4_0:
		dequantizeQ4_0NEON(blocks, &dst[0], &src[0])
	case Q4_K:
		dequantizeQ4_KNEON(blocks, &dst[0], &src[0])
	case Q5_K:
		dequantizeQ5_KNEON(blocks, &dst[0], &src[0])
	case Q6_K:
		dequantizeQ6_KNEON(blocks, &dst[0], &src[0])
	default:
		return false
	}
	return true
}

func dequantizePoints(kind BlockKind, blocks int, dst []float32, src, points []byte) bool {
	return false
}
