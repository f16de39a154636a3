package main

import "fmt"

// neonNarrowFile holds what products of bfloat16 and of bytes are made of. In panels two words of a row, or of a
// column, lie side by side: a register holds those of two.
func neonNarrowFile(k *neon) {
	for rows := 4; rows <= 12; rows += 4 {
		k.tileDots(rows)
		k.tileBytes(rows)
		k.tileBF16(rows)
	}
	k.transposeBF16()
	k.transposeBytes()
	k.interleaveBF16()
	k.interleaveInt8()
	k.rowMagnitudes()
	k.columnMagnitudes()
}

// The instructions on bytes and on bfloat16 that give a third register more.

func (k *neon) accumulate(encoding uint32, name string, d, n, m v, from string) {
	k.word(encoding|uint32(m)<<16|uint32(n)<<5|uint32(d), "%s V%d.4S, V%d.%s, V%d.%s", name, d, n, from, m, from)
}

// smmla adds n times the transposed m: two rows of eight bytes each, to a matrix of 2 × 2 int32s.
func (k *neon) smmla(d, n, m v) { k.accumulate(0x4e80a400, "SMMLA", d, n, m, "16B") }

// bfmmla adds n times the transposed m: two rows of four bfloat16 each, to a matrix of 2 × 2 float32s.
func (k *neon) bfmmla(d, n, m v) { k.accumulate(0x6e40ec00, "BFMMLA", d, n, m, "8H") }

// sdotElement adds to each int32 the products of four bytes of n with the four bytes number i of m.
func (k *neon) sdotElement(d, n, m v, i int) {
	encoding := 0x4f80e000 | uint32(i&1)<<21 | uint32(i>>1)<<11 | uint32(m)<<16 | uint32(n)<<5 | uint32(d)
	k.word(encoding, "SDOT V%d.4S, V%d.16B, V%d.4B[%d]", d, n, m, i)
}

// fmulElement is d = n * m[i].
func (k *neon) fmulElement(d, n, m v, i int) {
	encoding := 0x4f809000 | uint32(i&1)<<21 | uint32(i>>1)<<11 | uint32(m)<<16 | uint32(n)<<5 | uint32(d)
	k.word(encoding, "FMUL V%d.4S, V%d.4S, V%d.S[%d]", d, n, m, i)
}

// bfcvtn rounds four float32s to the lower half of bfloat16s, bfcvtn2 to the upper one.
func (k *neon) bfcvtn(d, n v) {
	k.word(0x0ea16800|uint32(n)<<5|uint32(d), "BFCVTN V%d.4H, V%d.4S", d, n)
}
func (k *neon) bfcvtn2(d, n v) {
	k.word(0x4ea16800|uint32(n)<<5|uint32(d), "BFCVTN2 V%d.8H, V%d.4S", d, n)
}

func (k *neon) umax(d, n, m v) { k.three(0x6ea06400, "UMAX", d, n, m) }

// umaxv is the largest of n's four uint32s, in the lowest of d.
func (k *neon) umaxv(d, n v) {
	k.word(0x6eb0a800|uint32(n)<<5|uint32(d), "UMAXV S%d, V%d.4S", d, n)
}

// loadPair loads two registers from p.
func (k *neon) loadPair(p r, disp int, x, y v) {
	k.op("FLDPQ", fmt.Sprintf("%d(%s)", disp, p), fmt.Sprintf("(F%d, F%d)", int(x), int(y)))
}

// storePair stores two registers to p.
func (k *neon) storePair(x, y v, p r, disp int) {
	k.op("FSTPQ", fmt.Sprintf("(F%d, F%d)", int(x), int(y)), fmt.Sprintf("%d(%s)", disp, p))
}

// A narrowTile is a kernel that multiplies a panel of rows of A by one of eight columns of B.
type narrowTile struct {
	*neon
	rows                  int
	depth, a, b, c, ldc   r
	scaleA, scaleB, first r
	acc, y, x             []v
	more                  []v // a second set of sums where acc are few
}

func (k *neon) narrowTile(name string, rows int, bytes bool, doc string) *narrowTile {
	signature := "(k int, a, b *float32, c *float32, ldc int, add bool"
	if bytes {
		signature += ", scaleA, scaleB *float32, start *int32"
	}
	k.kernel(fmt.Sprintf("%sx%d", name, rows), signature+")",
		fmt.Sprintf("c (%d, 8) = the product of panels k words deep, or that and c. k is even, rows are ldc apart.",
			rows), doc)
	t := &narrowTile{neon: k, rows: rows}
	t.depth, t.a, t.b, t.c, t.ldc = k.param("k"), k.param("a"), k.param("b"), k.param("c"), k.param("ldc")
	k.op("LSL", "$2", t.ldc, t.ldc)
	if bytes {
		t.scaleA, t.scaleB, t.first = k.param("scaleA"), k.param("scaleB"), k.param("start")
	}
	t.acc, t.y, t.x = k.vecs(2*rows), k.vecs(4), k.vecs(4)
	if bytes && rows == 4 { // too few for the latency of the instruction
		t.more = k.zeros(2 * rows)
	}
	return t
}

// sums are those that products number i, even or odd, are added to.
func (t *narrowTile) sums(i int) []v {
	if t.more != nil && i%2 == 1 {
		return t.more
	}
	return t.acc
}

// join adds the second set of sums to the first.
func (t *narrowTile) join() {
	for i, x := range t.more {
		t.op("VADD", x.s4(), t.acc[i].s4(), t.acc[i].s4())
	}
}

// loop runs step for two words at a time. step is given a register of A, with two rows, at a time, and whether the two
// words are the first or the second of a pass.
func (t *narrowTile) loop(loadB func(), step func(at, pair int, x v)) {
	once := func(at int) {
		loadB()
		for pair := 0; pair < t.rows/2; pair += 2 {
			x := t.x[pair%4 : pair%4+2]
			t.loadPair(t.a, 16*pair, x[0], x[1])
			step(at, pair, x[0])
			step(at, pair+1, x[1])
		}
		t.op("ADD", fmt.Sprintf("$%d", 8*t.rows), t.a)
	}
	t.neon.loop("four", t.depth, 4, func() {
		once(0)
		once(1)
	})
	t.neon.loop("two", t.depth, 2, func() { once(0) })
}

// columns loads the words of eight columns, two columns to a register.
func (t *narrowTile) columns() {
	t.loadPair(t.b, 0, t.y[0], t.y[1])
	t.loadPair(t.b, 32, t.y[2], t.y[3])
	t.op("ADD", "$64", t.b)
}

// tileDots multiplies words by SDOT. The words of four columns that come first go to one register, the others to the
// next.
func (k *neon) tileDots(rows int) {
	t := k.narrowTile("tileDots", rows, true, "Products are of four bytes (SDOT).")
	k.loadPair(t.first, 0, t.acc[0], t.acc[1])
	for i := 2; i < len(t.acc); i++ {
		k.move(t.acc[i%2], t.acc[i])
	}
	t.loop(func() {
		k.op("VLD2.P", fmt.Sprintf("32(%s)", t.b), list(t.y[:2]))
		k.op("VLD2.P", fmt.Sprintf("32(%s)", t.b), list(t.y[2:]))
	}, func(_, pair int, x v) {
		for word := range 2 {
			for r := range 2 {
				for side := range 2 {
					k.sdotElement(t.sums(word)[4*pair+2*r+side], t.y[2*side+word], x, 2*r+word)
				}
			}
		}
	})
	t.join()
	var tiles [][2]v
	for r := range rows {
		tiles = append(tiles, [2]v{t.acc[2*r], t.acc[2*r+1]})
	}
	t.finishScaled(tiles)
}

// finishScaled sets c to the sums times the factors of columns and rows, or adds that to c.
func (t *narrowTile) finishScaled(rows [][2]v) {
	t.loadPair(t.scaleB, 0, t.y[0], t.y[1])
	for _, row := range rows {
		for side, x := range row {
			t.scvtf(x, x)
			t.fmul(x, x, t.y[side])
		}
	}
	factor := func(r int) {
		if r%4 == 0 {
			t.op("FMOVQ", fmt.Sprintf("%d(%s)", 4*r, t.scaleA), fmt.Sprintf("F%d", int(t.y[2])))
		}
	}
	add := t.gp()
	t.op("MOVBU", t.parameter("add"), add)
	t.op("CBZ", add, "set")
	for r, row := range rows {
		factor(r)
		x := t.x[r%2*2 : r%2*2+2]
		t.loadPair(t.c, 0, x[0], x[1])
		for side := range row {
			t.fmlaElement(x[side], row[side], t.y[2], r%4)
		}
		t.storePair(x[0], x[1], t.c, 0)
		t.op("ADD", t.ldc, t.c)
	}
	t.op("RET")
	t.label("set")
	for r, row := range rows {
		factor(r)
		for _, x := range row {
			t.fmulElement(x, x, t.y[2], r%4)
		}
		t.storePair(row[0], row[1], t.c, 0)
		t.op("ADD", t.ldc, t.c)
	}
	t.op("RET")
}

// finish sets c to the rows, or adds them to c.
func (t *narrowTile) finish(rows [][2]v) {
	add, p := t.gp(), t.gp()
	t.op("MOVBU", t.parameter("add"), add)
	t.op("CBZ", add, "set")
	t.op("MOVD", t.c, p)
	for i, row := range rows {
		x := t.x[i%2*2 : i%2*2+2]
		t.loadPair(p, 0, x[0], x[1])
		t.op("ADD", t.ldc, p)
		t.fadd(row[0], row[0], x[0])
		t.fadd(row[1], row[1], x[1])
	}
	t.label("set")
	for _, row := range rows {
		t.storePair(row[0], row[1], t.c, 0)
		t.op("ADD", t.ldc, t.c)
	}
	t.op("RET")
}

// matrices multiplies by an instruction on matrices of 2 × 2, and returns the rows of the tile.
func (t *narrowTile) matrices(multiply func(d, n, m v)) (rows [][2]v) {
	t.loop(t.columns, func(at, pair int, x v) {
		for i, y := range t.y {
			multiply(t.sums(at)[4*pair+i], x, y)
		}
	})
	t.join()
	free := t.x[0]
	for pair := range t.rows / 2 {
		var upper, lower [2]v
		for side := range 2 {
			x, y := t.acc[4*pair+2*side], t.acc[4*pair+2*side+1]
			t.op("VZIP1", d2(y), d2(x), d2(free))
			t.op("VZIP2", d2(y), d2(x), d2(y))
			upper[side], lower[side], free = free, y, x
		}
		rows = append(rows, upper, lower)
	}
	t.x[0] = free
	return rows
}

func (k *neon) tileBytes(rows int) {
	t := k.narrowTile("tileMatrices", rows, true, "Products are of matrices of bytes (SMMLA).")
	k.loadPair(t.first, 0, t.y[0], t.y[1]) // four columns each, for both rows of a matrix
	for i := range 4 {
		k.op("VDUP", fmt.Sprintf("%s.D[%d]", t.y[i/2], i%2), d2(t.acc[i]))
	}
	for i := 4; i < len(t.acc); i++ {
		k.move(t.acc[i%4], t.acc[i])
	}
	tiles := t.matrices(k.smmla)
	t.finishScaled(tiles)
}

func (k *neon) tileBF16(rows int) {
	t := k.narrowTile("tileBF16", rows, false, "Products are of matrices of bfloat16 (BFMMLA).")
	for _, x := range t.acc {
		k.zero(x)
	}
	t.finish(t.matrices(k.bfmmla))
}

// clampedRows are the addresses of four rows, of which those beyond the last are the last.
func (k *neon) clampedRows() [4]r {
	ld, rows := k.param("ld"), k.param("rows")
	k.op("LSL", "$2", ld, ld)
	src := [4]r{k.param("src"), k.gp(), k.gp(), k.gp()}
	for i := 1; i < 4; i++ {
		k.op("ADD", ld, src[i-1], src[i])
		k.op("CMP", fmt.Sprintf("$%d", i), rows)
		k.op("CSEL", "GT", src[i], src[i-1], src[i])
	}
	return src
}

// fourDoubles stores the lower halves of four registers side by side, and the upper ones behind, width words pairs on.
func (k *neon) fourDoubles(x []v, t []v, dst, width r) {
	for i := range 2 {
		k.op("VZIP1", d2(x[2*i+1]), d2(x[2*i]), d2(t[i]))
		k.op("VZIP2", d2(x[2*i+1]), d2(x[2*i]), d2(t[2+i]))
	}
	for i := range 2 {
		k.storePair(t[2*i], t[2*i+1], dst, 0)
		k.op("ADD", width, dst)
	}
}

func (k *neon) transposeBF16() {
	k.kernel("transposeBF16", "(words int, dst *float32, width int, src *float32, ld, rows int)",
		"The words, a multiple of 16, of rows min(r, rows-1) of src, r < 4: bfloat16(src[2p]), bfloat16(src[2p+1]).")
	words, dst, width := k.param("words"), k.param("dst"), k.param("width")
	src := k.clampedRows()
	k.op("LSL", "$3", width, width)
	x, y, t := k.vecs(2), k.vecs(4), k.vecs(4)
	k.loop("block", words, 4, func() {
		for i, row := range src {
			k.load(row, x)
			k.bfcvtn(y[i], x[0])
			k.bfcvtn2(y[i], x[1])
		}
		k.fourDoubles(y, t, dst, width)
	})
	k.op("RET")
}

// lowHalves sets d to the lower halves of the int32s, or the int16s, of two registers.
func (k *neon) lowHalves(x, y, d v, arrangement string) {
	name := func(x v) string { return x.String() + "." + arrangement }
	k.op("VUZP1", name(y), name(x), name(d))
}

// rounded makes the int32s nearest to x times a factor.
func (k *neon) rounded(x, factor v) {
	k.fmul(x, x, factor)
	k.fcvtns(x, x)
}

func (k *neon) transposeBytes() {
	k.kernel("transposeBytes", "(words int, dst *float32, width int, src *float32, ld, rows int, inverse *float32)",
		"The words, a multiple of 16, of rows min(r, rows-1) of src, r < 4: the four bytes nearest to src[4p+i]*inverse[r].")
	words, dst, width := k.param("words"), k.param("dst"), k.param("width")
	src, p := k.clampedRows(), k.param("inverse")
	k.op("LSL", "$3", width, width)
	x, y, t, inverse := k.vecs(4), k.vecs(4), k.vecs(4), k.vec()
	factor := k.vecs(4)
	k.op("FMOVQ", fmt.Sprintf("(%s)", p), fmt.Sprintf("F%d", int(inverse)))
	for i, f := range factor {
		k.op("VDUP", fmt.Sprintf("%s.S[%d]", inverse, i), f.s4())
	}
	k.loop("block", words, 4, func() {
		for i, row := range src {
			k.load(row, x)
			for _, x := range x {
				k.rounded(x, factor[i])
			}
			k.lowHalves(x[0], x[1], x[0], "H8")
			k.lowHalves(x[2], x[3], x[2], "H8")
			k.lowHalves(x[0], x[2], y[i], "B16")
		}
		k.fourDoubles(y, t, dst, width)
	})
	k.op("RET")
}

func (k *neon) interleaveBF16() {
	k.kernel("interleaveBF16", "(words int, dst, src *float32, ld int)",
		"The words, an even number, of eight columns of src: bfloat16(src[2p*ld+j]), bfloat16(src[(2p+1)*ld+j]).")
	words, dst, src, ld := k.param("words"), k.param("dst"), k.param("src"), k.param("ld")
	k.op("LSL", "$2", ld, ld)
	x, y, t := k.vecs(2), k.vecs(4), k.vecs(4)
	h8 := func(x v) string { return x.String() + ".H8" }
	zip := func(n, m, low, high v) {
		k.op("VZIP1", h8(m), h8(n), h8(low))
		k.op("VZIP2", h8(m), h8(n), h8(high))
	}
	k.loop("two", words, 2, func() {
		for _, y := range y {
			k.loadPair(src, 0, x[0], x[1])
			k.op("ADD", ld, src)
			k.bfcvtn(y, x[0])
			k.bfcvtn2(y, x[1])
		}
		zip(y[0], y[2], t[0], t[1]) // rows 0 and 2 of columns 0 to 3, and 4 to 7
		zip(y[1], y[3], t[2], t[3])
		zip(t[0], t[2], y[0], y[1])
		zip(t[1], t[3], y[2], y[3])
		k.store(y, dst)
	})
	k.op("RET")
}

func (k *neon) interleaveInt8() {
	k.kernel("interleaveInt8", "(words int, dst, src *float32, ld int, inverse *float32)",
		"The words, an even number, of eight columns of src: the four bytes nearest to src[(4p+i)*ld+j]*inverse[j].")
	words, dst, src, ld, p := k.param("words"), k.param("dst"), k.param("src"), k.param("ld"), k.param("inverse")
	k.op("LSL", "$2", ld, ld)
	x, y, t, inverse := k.vecs(4), k.vecs(4), k.vecs(4), k.vecs(2)
	k.loadPair(p, 0, inverse[0], inverse[1])
	zip := func(op string, n, m, d v) { k.op(op, b16(m), b16(n), b16(d)) }
	k.loop("two", words, 2, func() {
		// y[i]: bytes of row i, and of row i+4 behind.
		rows := [8]v{y[0], y[1], y[2], y[3], t[0], t[1], t[2], t[3]}
		for i, row := range rows {
			k.loadPair(src, 0, x[0], x[1])
			k.op("ADD", ld, src)
			k.rounded(x[0], inverse[0])
			k.rounded(x[1], inverse[1])
			k.lowHalves(x[0], x[1], row, "H8")
			if i >= 4 {
				k.lowHalves(rows[i-4], row, rows[i-4], "B16")
			}
		}
		// Rows i and i+4 of a column side by side, then i, i+2, i+4, i+6, then all.
		for i, y := range y {
			k.op("VEXT", "$8", b16(y), b16(y), b16(x[0]))
			zip("VZIP1", y, x[0], t[i])
		}
		zip("VZIP1", t[0], t[2], y[0])
		zip("VZIP2", t[0], t[2], y[1])
		zip("VZIP1", t[1], t[3], y[2])
		zip("VZIP2", t[1], t[3], y[3])
		for i := range 2 {
			zip("VZIP1", y[i], y[2+i], x[2*i])
			zip("VZIP2", y[i], y[2+i], x[2*i+1])
		}
		k.store(x, dst)
	})
	k.op("RET")
}

// largest raises the uint32s of m to the magnitudes of x.
func (k *neon) largest(m, x, signs v) {
	k.bic(x, x, signs)
	k.umax(m, m, x)
}

func (k *neon) rowMagnitudes() {
	k.kernel("rowMagnitudes", "(k int, dst, src *float32, ld, rows int)",
		"dst[r] = the largest |src[min(r, rows-1)*ld+i]|, i < k, a multiple of 16, for r < 4; NaN is the largest.")
	depth, dst := k.param("k"), k.param("dst")
	src := k.clampedRows()
	m, x, signs := k.zeros(4), k.vecs(4), k.bits(1<<31)
	k.loop("block", depth, 16, func() {
		for i, row := range src {
			k.load(row, x)
			for _, x := range x {
				k.bic(x, x, signs)
			}
			k.umax(x[0], x[0], x[1])
			k.umax(x[2], x[2], x[3])
			k.umax(m[i], m[i], x[0])
			k.umax(m[i], m[i], x[2])
		}
	})
	for i, m := range m {
		k.umaxv(m, m)
		k.op("FMOVS", fmt.Sprintf("F%d", int(m)), fmt.Sprintf("%d(%s)", 4*i, dst))
	}
	k.op("RET")
}

func (k *neon) columnMagnitudes() {
	k.kernel("columnMagnitudes", "(k int, dst, src *float32, ld int)",
		"dst[j] = the largest |src[p*ld+j]|, p < k, for j < 8; NaN is the largest.")
	depth, dst, src, ld := k.param("k"), k.param("dst"), k.param("src"), k.param("ld")
	k.op("LSL", "$2", ld, ld)
	m, x, signs := k.zeros(2), k.vecs(2), k.bits(1<<31)
	k.loop("one", depth, 1, func() {
		k.loadPair(src, 0, x[0], x[1])
		k.op("ADD", ld, src)
		for i, x := range x {
			k.largest(m[i], x, signs)
		}
	})
	k.storePair(m[0], m[1], dst, 0)
	k.op("RET")
}
