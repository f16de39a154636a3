//go:build !purego

package kernels

//go:noescape
func dequantizeF16NEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeBF16NEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ4_0NEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ4_1NEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ5_0NEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ5_1NEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ8_0NEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ2_KNEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ3_KNEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ4_KNEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ5_KNEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ6_KNEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeIQ4_NLNEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeIQ4_XSNEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeMXFP4NEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeNVFP4NEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeTQ1_0NEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeTQ2_0NEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ1_0NEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ2_0NEON(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeIQ1_SNEON(blocks int, dst *float32, src, points *uint8)

//go:noescape
func dequantizeIQ1_MNEON(blocks int, dst *float32, src, points *uint8)

//go:noescape
func dequantizeIQ2_XXSNEON(blocks int, dst *float32, src, points *uint8)

//go:noescape
func dequantizeIQ2_XSNEON(blocks int, dst *float32, src, points *uint8)

//go:noescape
func dequantizeIQ2_SNEON(blocks int, dst *float32, src, points *uint8)

//go:noescape
func dequantizeIQ3_XXSNEON(blocks int, dst *float32, src, points *uint8)

//go:noescape
func dequantizeIQ3_SNEON(blocks int, dst *float32, src, points *uint8)

// dequantize is Dequantize of this many blocks, at least one; it reports whether there is assembly for it.
func dequantize(kind BlockKind, blocks int, dst []float32, src []byte) bool {
	if current == tierGeneric {
		return false
	}
	dequantizeNEON(kind, blocks, &dst[0], &src[0])
	return true
}

// dequantizePoints is the same with points.
func dequantizePoints(kind BlockKind, blocks int, dst []float32, src, points []byte) bool {
	if current == tierGeneric {
		return false
	}
	dequantizePointsNEON(kind, blocks, &dst[0], &src[0], &points[0])
	return true
}

func dequantizeNEON(kind BlockKind, blocks int, dst *float32, src *uint8) {
	switch kind {
	case F16Block:
		dequantizeF16NEON(blocks, dst, src)
	case BF16Block:
		dequantizeBF16NEON(blocks, dst, src)
	case Q4_0:
		dequantizeQ4_0NEON(blocks, dst, src)
	case Q4_1:
		dequantizeQ4_1NEON(blocks, dst, src)
	case Q5_0:
		dequantizeQ5_0NEON(blocks, dst, src)
	case Q5_1:
		dequantizeQ5_1NEON(blocks, dst, src)
	case Q8_0:
		dequantizeQ8_0NEON(blocks, dst, src)
	case Q2_K:
		dequantizeQ2_KNEON(blocks, dst, src)
	case Q3_K:
		dequantizeQ3_KNEON(blocks, dst, src)
	case Q4_K:
		dequantizeQ4_KNEON(blocks, dst, src)
	case Q5_K:
		dequantizeQ5_KNEON(blocks, dst, src)
	case Q6_K:
		dequantizeQ6_KNEON(blocks, dst, src)
	case IQ4_NL:
		dequantizeIQ4_NLNEON(blocks, dst, src)
	case IQ4_XS:
		dequantizeIQ4_XSNEON(blocks, dst, src)
	case MXFP4:
		dequantizeMXFP4NEON(blocks, dst, src)
	case NVFP4:
		dequantizeNVFP4NEON(blocks, dst, src)
	case TQ1_0:
		dequantizeTQ1_0NEON(blocks, dst, src)
	case TQ2_0:
		dequantizeTQ2_0NEON(blocks, dst, src)
	case Q1_0:
		dequantizeQ1_0NEON(blocks, dst, src)
	case Q2_0:
		dequantizeQ2_0NEON(blocks, dst, src)
	}
}

func dequantizePointsNEON(kind BlockKind, blocks int, dst *float32, src, points *uint8) {
	switch kind {
	case IQ1_S:
		dequantizeIQ1_SNEON(blocks, dst, src, points)
	case IQ1_M:
		dequantizeIQ1_MNEON(blocks, dst, src, points)
	case IQ2_XXS:
		dequantizeIQ2_XXSNEON(blocks, dst, src, points)
	case IQ2_XS:
		dequantizeIQ2_XSNEON(blocks, dst, src, points)
	case IQ2_S:
		dequantizeIQ2_SNEON(blocks, dst, src, points)
	case IQ3_XXS:
		dequantizeIQ3_XXSNEON(blocks, dst, src, points)
	case IQ3_S:
		dequantizeIQ3_SNEON(blocks, dst, src, points)
	}
}
