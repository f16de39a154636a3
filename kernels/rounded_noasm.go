//go:build (!amd64 && !arm64) || purego

package kernels

func productsExist(BlockKind) bool { return false }

func productsOfFour() bool { return false }

func productsOfRows() bool { return false }

func multiplyFour(kind BlockKind, rows, bytes int, w []byte, x *Rounded, row int, y []float32, ld int) {
	panic("kernels: no products of four rows")
}

func multiplyRow(kind BlockKind, rows, bytes int, w []byte, x *Rounded, row int, y []float32) {
	multiplyRowGeneric(kind, rows, bytes, w, x, row, y)
}

func roundBlocks(dst []roundedBlock, x []float32) { roundBlocksGeneric(dst, x) }

func roundSupers(dst []roundedSuper, x []float32) { roundSupersGeneric(dst, x) }
