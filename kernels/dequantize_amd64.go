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
func dequantizeQ5_0AVX2(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ5_1AVX512(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ5_1AVX2(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ8_0AVX512(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ8_0AVX2(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ2_KAVX512(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ2_KAVX2(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ3_KAVX512(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ3_KAVX2(blocks int, dst *float32, src *uint8)

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

//go:noescape
func dequantizeIQ4_NLAVX512(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeIQ4_NLAVX2(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeIQ4_XSAVX512(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeIQ4_XSAVX2(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeMXFP4AVX512(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeMXFP4AVX2(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeNVFP4AVX512(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeNVFP4AVX2(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeTQ1_0AVX512(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeTQ1_0AVX2(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeTQ2_0AVX512(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeTQ2_0AVX2(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ1_0AVX512(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ1_0AVX2(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ2_0AVX512(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeQ2_0AVX2(blocks int, dst *float32, src *uint8)

//go:noescape
func dequantizeIQ1_SAVX512(blocks int, dst *float32, src, points *uint8)

//go:noescape
func dequantizeIQ1_SAVX2(blocks int, dst *float32, src, points *uint8)

//go:noescape
func dequantizeIQ1_MAVX512(blocks int, dst *float32, src, points *uint8)

//go:noescape
func dequantizeIQ1_MAVX2(blocks int, dst *float32, src, points *uint8)

//go:noescape
func dequantizeIQ2_XXSAVX512(blocks int, dst *float32, src, points *uint8)

//go:noescape
func dequantizeIQ2_XXSAVX2(blocks int, dst *float32, src, points *uint8)

//go:noescape
func dequantizeIQ2_XSAVX512(blocks int, dst *float32, src, points *uint8)

//go:noescape
func dequantizeIQ2_XSAVX2(blocks int, dst *float32, src, points *uint8)

//go:noescape
func dequantizeIQ2_SAVX512(blocks int, dst *float32, src, points *uint8)

//go:noescape
func dequantizeIQ2_SAVX2(blocks int, dst *float32, src, points *uint8)

//go:noescape
func dequantizeIQ3_XXSAVX512(blocks int, dst *float32, src, points *uint8)

//go:noescape
func dequantizeIQ3_XXSAVX2(blocks int, dst *float32, src, points *uint8)

//go:noescape
func dequantizeIQ3_SAVX512(blocks int, dst *float32, src, points *uint8)

//go:noescape
func dequantizeIQ3_SAVX2(blocks int, dst *float32, src, points *uint8)

// dequantize is Dequantize of this many blocks, at least one; it reports whether there is assembly for it.
func dequantize(kind BlockKind, blocks int, dst []float32, src []byte) bool {
	switch current {
	case tierAVX512, tierAMX:
		dequantizeAVX512(kind, blocks, &dst[0], &src[0])
		return true
	case tierAVX2:
		dequantizeAVX2(kind, blocks, &dst[0], &src[0])
		return true
	}
	return false
}

// dequantizePoints is the same with points.
func dequantizePoints(kind BlockKind, blocks int, dst []float32, src, points []byte) bool {
	switch current {
	case tierAVX512, tierAMX:
		dequantizePointsAVX512(kind, blocks, &dst[0], &src[0], &points[0])
		return true
	case tierAVX2:
		dequantizePointsAVX2(kind, blocks, &dst[0], &src[0], &points[0])
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
	case Q2_K:
		dequantizeQ2_KAVX512(blocks, dst, src)
	case Q3_K:
		dequantizeQ3_KAVX512(blocks, dst, src)
	case Q4_K:
		dequantizeQ4_KAVX512(blocks, dst, src)
	case Q5_K:
		dequantizeQ5_KAVX512(blocks, dst, src)
	case Q6_K:
		dequantizeQ6_KAVX512(blocks, dst, src)
	case IQ4_NL:
		dequantizeIQ4_NLAVX512(blocks, dst, src)
	case IQ4_XS:
		dequantizeIQ4_XSAVX512(blocks, dst, src)
	case MXFP4:
		dequantizeMXFP4AVX512(blocks, dst, src)
	case NVFP4:
		dequantizeNVFP4AVX512(blocks, dst, src)
	case TQ1_0:
		dequantizeTQ1_0AVX512(blocks, dst, src)
	case TQ2_0:
		dequantizeTQ2_0AVX512(blocks, dst, src)
	case Q1_0:
		dequantizeQ1_0AVX512(blocks, dst, src)
	case Q2_0:
		dequantizeQ2_0AVX512(blocks, dst, src)
	}
}

func dequantizePointsAVX512(kind BlockKind, blocks int, dst *float32, src, points *uint8) {
	switch kind {
	case IQ1_S:
		dequantizeIQ1_SAVX512(blocks, dst, src, points)
	case IQ1_M:
		dequantizeIQ1_MAVX512(blocks, dst, src, points)
	case IQ2_XXS:
		dequantizeIQ2_XXSAVX512(blocks, dst, src, points)
	case IQ2_XS:
		dequantizeIQ2_XSAVX512(blocks, dst, src, points)
	case IQ2_S:
		dequantizeIQ2_SAVX512(blocks, dst, src, points)
	case IQ3_XXS:
		dequantizeIQ3_XXSAVX512(blocks, dst, src, points)
	case IQ3_S:
		dequantizeIQ3_SAVX512(blocks, dst, src, points)
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
	case Q2_K:
		dequantizeQ2_KAVX2(blocks, dst, src)
	case Q3_K:
		dequantizeQ3_KAVX2(blocks, dst, src)
	case Q4_K:
		dequantizeQ4_KAVX2(blocks, dst, src)
	case Q5_K:
		dequantizeQ5_KAVX2(blocks, dst, src)
	case Q6_K:
		dequantizeQ6_KAVX2(blocks, dst, src)
	case IQ4_NL:
		dequantizeIQ4_NLAVX2(blocks, dst, src)
	case IQ4_XS:
		dequantizeIQ4_XSAVX2(blocks, dst, src)
	case MXFP4:
		dequantizeMXFP4AVX2(blocks, dst, src)
	case NVFP4:
		dequantizeNVFP4AVX2(blocks, dst, src)
	case TQ1_0:
		dequantizeTQ1_0AVX2(blocks, dst, src)
	case TQ2_0:
		dequantizeTQ2_0AVX2(blocks, dst, src)
	case Q1_0:
		dequantizeQ1_0AVX2(blocks, dst, src)
	case Q2_0:
		dequantizeQ2_0AVX2(blocks, dst, src)
	}
}

func dequantizePointsAVX2(kind BlockKind, blocks int, dst *float32, src, points *uint8) {
	switch kind {
	case IQ1_S:
		dequantizeIQ1_SAVX2(blocks, dst, src, points)
	case IQ1_M:
		dequantizeIQ1_MAVX2(blocks, dst, src, points)
	case IQ2_XXS:
		dequantizeIQ2_XXSAVX2(blocks, dst, src, points)
	case IQ2_XS:
		dequantizeIQ2_XSAVX2(blocks, dst, src, points)
	case IQ2_S:
		dequantizeIQ2_SAVX2(blocks, dst, src, points)
	case IQ3_XXS:
		dequantizeIQ3_XXSAVX2(blocks, dst, src, points)
	case IQ3_S:
		dequantizeIQ3_SAVX2(blocks, dst, src, points)
	}
}
