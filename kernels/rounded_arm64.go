//go:build !purego

package kernels

// The stubs are multiplyRowGeneric. x points to records of Rounded.

//go:noescape
func productsQ4_0NEON(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsQ4_1NEON(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsQ5_0NEON(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsQ5_1NEON(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsQ8_0NEON(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsIQ4_NLNEON(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsMXFP4NEON(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsQ4_KNEON(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsQ5_KNEON(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsQ6_KNEON(rows, blocks int, w *uint8, x *byte, y *float32)

//go:noescape
func productsIQ4_XSNEON(rows, blocks int, w *uint8, x *byte, y *float32)

// productsExist says whether there is assembly for a kind of blocks.
func productsExist(kind BlockKind) bool {
	return hasInt8() && hasProduct(kind)
}

func productsOfFour() bool { return false }

func productsOfRows() bool { return false }

func multiplyFour(kind BlockKind, rows, bytes int, w []byte, x *Rounded, row int, y []float32, ld int) {
	panic("kernels: no products of four rows")
}

// multiplyRow sets y to rows of blocks, of so many bytes each, times one row of x.
func multiplyRow(kind BlockKind, rows, bytes int, w []byte, x *Rounded, row int, y []float32) {
	if !productsExist(kind) {
		multiplyRowGeneric(kind, rows, bytes, w, x, row, y)
		return
	}
	_, _ = w[rows*bytes-1], y[rows-1]
	multiplyRowNEON(kind, rows, bytes/blockSizes[kind].bytes, &w[0], x.record(row), &y[0])
}

func multiplyRowNEON(kind BlockKind, rows, blocks int, w *uint8, x *byte, y *float32) {
	switch kind {
	case Q4_0:
		productsQ4_0NEON(rows, blocks, w, x, y)
	case Q4_1:
		productsQ4_1NEON(rows, blocks, w, x, y)
	case Q5_0:
		productsQ5_0NEON(rows, blocks, w, x, y)
	case Q5_1:
		productsQ5_1NEON(rows, blocks, w, x, y)
	case Q8_0:
		productsQ8_0NEON(rows, blocks, w, x, y)
	case IQ4_NL:
		productsIQ4_NLNEON(rows, blocks, w, x, y)
	case MXFP4:
		productsMXFP4NEON(rows, blocks, w, x, y)
	case Q4_K:
		productsQ4_KNEON(rows, blocks, w, x, y)
	case Q5_K:
		productsQ5_KNEON(rows, blocks, w, x, y)
	case Q6_K:
		productsQ6_KNEON(rows, blocks, w, x, y)
	case IQ4_XS:
		productsIQ4_XSNEON(rows, blocks, w, x, y)
	}
}

func roundBlocks(dst []roundedBlock, x []float32) { roundBlocksGeneric(dst, x) }

func roundSupers(dst []roundedSuper, x []float32) { roundSupersGeneric(dst, x) }
