//go:build !purego

package kernels

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// The stubs are multiplyRowGeneric, and of four rows of x at once where their names say so. x points to records of
// Rounded.

//go:noescape
func productsQ4_0AVX512(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsQ4_1AVX512(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsQ5_0AVX512(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsQ5_1AVX512(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsQ8_0AVX512(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsIQ4_NLAVX512(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsMXFP4AVX512(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsQ4_KAVX512(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsQ5_KAVX512(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsQ6_KAVX512(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsIQ4_XSAVX512(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsQ4_0AVX2(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsQ4_1AVX2(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsQ5_0AVX2(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsQ5_1AVX2(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsQ8_0AVX2(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsIQ4_NLAVX2(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsMXFP4AVX2(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsQ4_KAVX2(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsQ5_KAVX2(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsQ6_KAVX2(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsIQ4_XSAVX2(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func products4Q4_0AVX512(rows, blocks int, w *uint8, x *byte, y *float32, ld int)

//go:noescape
func products4Q4_1AVX512(rows, blocks int, w *uint8, x *byte, y *float32, ld int)

//go:noescape
func products4Q5_0AVX512(rows, blocks int, w *uint8, x *byte, y *float32, ld int)

//go:noescape
func products4Q5_1AVX512(rows, blocks int, w *uint8, x *byte, y *float32, ld int)

//go:noescape
func products4Q8_0AVX512(rows, blocks int, w *uint8, x *byte, y *float32, ld int)

//go:noescape
func products4IQ4_NLAVX512(rows, blocks int, w *uint8, x *byte, y *float32, ld int)

//go:noescape
func products4MXFP4AVX512(rows, blocks int, w *uint8, x *byte, y *float32, ld int)

//go:noescape
func products4Q4_KAVX512(rows, blocks int, w *uint8, x *byte, y *float32, ld int)

//go:noescape
func products4Q5_KAVX512(rows, blocks int, w *uint8, x *byte, y *float32, ld int)

//go:noescape
func products4Q6_KAVX512(rows, blocks int, w *uint8, x *byte, y *float32, ld int)

//go:noescape
func products4IQ4_XSAVX512(rows, blocks int, w *uint8, x *byte, y *float32, ld int)

//go:noescape
func rowsQ4_KVBMI(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func rowsQ5_KVBMI(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func rowsQ6_KVBMI(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func rowsQ8_0VBMI(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func rowsQ4_0VBMI(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func rowsQ5_0VBMI(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func rowsIQ4_NLVBMI(rows, blocks int, w *uint8, x *byte, y *float32)

// productsExist says whether there is assembly for a kind of blocks.
func productsExist(kind BlockKind) bool {
	return (current == tierAVX2 || current >= tierAVX512) && hasProduct(kind)
}

// productsOfFour says whether there is assembly for four rows of x at once.
func productsOfFour() bool { return hasVNNI() }

// productsOfRows says whether there is assembly for four rows of weights at once.
func productsOfRows() bool {
	return hasVNNI() && cpu.X86.HasAVX512VBMI && cpu.X86.HasAVX512GFNI && !withoutRows
}

// multiplyRow sets y to rows of blocks, of so many bytes each, times one row of x.
func multiplyRow(kind BlockKind, rows, bytes int, w []byte, x *Rounded, row int, y []float32) {
	blocks := bytes / blockSizes[kind].bytes
	_, _ = w[rows*bytes-1], y[rows-1]
	switch {
	case !productsExist(kind):
		multiplyRowGeneric(kind, rows, bytes, w, x, row, y)
	case hasVNNI():
		if done := multiplyRowsVBMI(kind, rows&^3, blocks, &w[0], x, row, &y[0]); done < rows {
			multiplyRowAVX512(kind, rows-done, blocks, &w[done*bytes], x.record(row), &y[done])
		}
	default:
		multiplyRowAVX2(kind, rows, blocks, &w[0], x.record(row), &y[0])
	}
}

// multiplyRowsVBMI multiplies rows, a multiple of four, or none.
func multiplyRowsVBMI(kind BlockKind, rows, blocks int, w *uint8, x *Rounded, row int, y *float32) (done int) {
	if rows == 0 || !productsOfRows() {
		return 0
	}
	if !x.supers {
		if len(x.eights) == 0 {
			return 0
		}
		eight := (*byte)(unsafe.Pointer(&x.eights[row*x.cols/256]))
		switch kind {
		case Q8_0:
			rowsQ8_0VBMI(rows, blocks, w, eight, y)
		case Q4_0:
			rowsQ4_0VBMI(rows, blocks, w, eight, y)
		case Q5_0:
			rowsQ5_0VBMI(rows, blocks, w, eight, y)
		case IQ4_NL:
			rowsIQ4_NLVBMI(rows, blocks, w, eight, y)
		default:
			return 0
		}
		return rows
	}
	switch from := x.record(row); kind {
	case Q4_K:
		rowsQ4_KVBMI(rows, blocks, w, from, y)
	case Q5_K:
		rowsQ5_KVBMI(rows, blocks, w, from, y)
	case Q6_K:
		rowsQ6_KVBMI(rows, blocks, w, from, y)
	default:
		return 0
	}
	return rows
}

func multiplyRowAVX512(kind BlockKind, rows, blocks int, w *uint8, x *byte, y *float32) {
	switch kind {
	case Q4_0:
		productsQ4_0AVX512(rows, blocks, w, x, y)
	case Q4_1:
		productsQ4_1AVX512(rows, blocks, w, x, y)
	case Q5_0:
		productsQ5_0AVX512(rows, blocks, w, x, y)
	case Q5_1:
		productsQ5_1AVX512(rows, blocks, w, x, y)
	case Q8_0:
		productsQ8_0AVX512(rows, blocks, w, x, y)
	case IQ4_NL:
		productsIQ4_NLAVX512(rows, blocks, w, x, y)
	case MXFP4:
		productsMXFP4AVX512(rows, blocks, w, x, y)
	case Q4_K:
		productsQ4_KAVX512(rows, blocks, w, x, y)
	case Q5_K:
		productsQ5_KAVX512(rows, blocks, w, x, y)
	case Q6_K:
		productsQ6_KAVX512(rows, blocks, w, x, y)
	case IQ4_XS:
		productsIQ4_XSAVX512(rows, blocks, w, x, y)
	}
}

func multiplyRowAVX2(kind BlockKind, rows, blocks int, w *uint8, x *byte, y *float32) {
	switch kind {
	case Q4_0:
		productsQ4_0AVX2(rows, blocks, w, x, y)
	case Q4_1:
		productsQ4_1AVX2(rows, blocks, w, x, y)
	case Q5_0:
		productsQ5_0AVX2(rows, blocks, w, x, y)
	case Q5_1:
		productsQ5_1AVX2(rows, blocks, w, x, y)
	case Q8_0:
		productsQ8_0AVX2(rows, blocks, w, x, y)
	case IQ4_NL:
		productsIQ4_NLAVX2(rows, blocks, w, x, y)
	case MXFP4:
		productsMXFP4AVX2(rows, blocks, w, x, y)
	case Q4_K:
		productsQ4_KAVX2(rows, blocks, w, x, y)
	case Q5_K:
		productsQ5_KAVX2(rows, blocks, w, x, y)
	case Q6_K:
		productsQ6_KAVX2(rows, blocks, w, x, y)
	case IQ4_XS:
		productsIQ4_XSAVX2(rows, blocks, w, x, y)
	}
}

// multiplyFour is multiplyRow of four rows of x from number row on, whose results are ld apart.
func multiplyFour(kind BlockKind, rows, bytes int, w []byte, x *Rounded, row int, y []float32, ld int) {
	blocks := bytes / blockSizes[kind].bytes
	_, _ = w[rows*bytes-1], y[3*ld+rows-1]
	from, b := x.record(row), &w[0]
	switch kind {
	case Q4_0:
		products4Q4_0AVX512(rows, blocks, b, from, &y[0], ld)
	case Q4_1:
		products4Q4_1AVX512(rows, blocks, b, from, &y[0], ld)
	case Q5_0:
		products4Q5_0AVX512(rows, blocks, b, from, &y[0], ld)
	case Q5_1:
		products4Q5_1AVX512(rows, blocks, b, from, &y[0], ld)
	case Q8_0:
		products4Q8_0AVX512(rows, blocks, b, from, &y[0], ld)
	case IQ4_NL:
		products4IQ4_NLAVX512(rows, blocks, b, from, &y[0], ld)
	case MXFP4:
		products4MXFP4AVX512(rows, blocks, b, from, &y[0], ld)
	case Q4_K:
		products4Q4_KAVX512(rows, blocks, b, from, &y[0], ld)
	case Q5_K:
		products4Q5_KAVX512(rows, blocks, b, from, &y[0], ld)
	case Q6_K:
		products4Q6_KAVX512(rows, blocks, b, from, &y[0], ld)
	case IQ4_XS:
		products4IQ4_XSAVX512(rows, blocks, b, from, &y[0], ld)
	default:
		panic("kernels: a kind of blocks that has no product")
	}
}

// The stubs are roundBlocksGeneric and roundSupersGeneric, up to a block that these have to round.

//go:noescape
func roundBlocksAVX2(n int, dst *byte, x *float32) (done int)

//go:noescape
func roundSupersAVX2(n int, dst *byte, x *float32) (done int)

// roundBlocks is roundBlocksGeneric.
func roundBlocks(dst []roundedBlock, x []float32) {
	for len(dst) > 0 {
		done := 0
		if _ = x[32*len(dst)-1]; current == tierAVX2 || current >= tierAVX512 {
			done = roundBlocksAVX2(len(dst), (*byte)(unsafe.Pointer(&dst[0])), &x[0])
		}
		if dst, x = dst[done:], x[32*done:]; len(dst) > 0 {
			roundBlocksGeneric(dst[:1], x)
			dst, x = dst[1:], x[32:]
		}
	}
}

// roundSupers is roundSupersGeneric.
func roundSupers(dst []roundedSuper, x []float32) {
	for len(dst) > 0 {
		done := 0
		if _ = x[256*len(dst)-1]; current == tierAVX2 || current >= tierAVX512 {
			done = roundSupersAVX2(len(dst), (*byte)(unsafe.Pointer(&dst[0])), &x[0])
		}
		if dst, x = dst[done:], x[256*done:]; len(dst) > 0 {
			roundSupersGeneric(dst[:1], x)
			dst, x = dst[1:], x[256:]
		}
	}
}
