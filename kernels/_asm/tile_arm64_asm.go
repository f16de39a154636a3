package main

import "fmt"

// neonTileFile holds what the matrix product is made of.
func neonTileFile(k *neon) {
	for rows := 4; rows <= 12; rows += 4 {
		k.outerTile(rows)
	}
	k.dotsTile()
	k.transpose()
	k.copyPanel()
}

// outerTile is a tile of rows × 8 columns: each step of k multiplies a column of the packed A by a row of B.
func (k *neon) outerTile(rows int) {
	k.kernel(fmt.Sprintf("tile%d", rows), "(k int, a, b *float32, bs int, c *float32, ldc int, add bool)",
		fmt.Sprintf("a is packed (k, %d), b has k rows bs apart, c has rows ldc apart.", rows))
	depth, a, b, bs := k.param("k"), k.param("a"), k.param("b"), k.param("bs")
	c, ldc := k.param("c"), k.param("ldc")
	k.op("LSL", "$2", bs, bs)
	k.op("LSL", "$2", ldc, ldc)
	acc, x, y := k.zeros(2*rows), k.vecs(rows/4), k.vecs(2)
	step := func() {
		k.load(a, x)
		k.op("VLD1.P", fmt.Sprintf("(%s)(%s)", b, bs), list(y))
		for r := range rows {
			k.fmlaElement(acc[2*r], y[0], x[r/4], r%4)
			k.fmlaElement(acc[2*r+1], y[1], x[r/4], r%4)
		}
	}
	k.loop("four", depth, 4, func() {
		for range 4 {
			step()
		}
	})
	k.loop("one", depth, 1, step)
	k.storeTile(acc, y, c, ldc)
}

// storeTile sets c to the tile, or adds the tile to c.
func (k *neon) storeTile(acc, t []v, c, ldc r) {
	add, p := k.gp(), k.gp()
	k.op("MOVBU", k.parameter("add"), add)
	k.op("CBZ", add, "set")
	k.op("MOVD", c, p)
	for i := 0; i < len(acc); i += 2 {
		k.op("VLD1.P", fmt.Sprintf("(%s)(%s)", p, ldc), list(t))
		k.fadd(acc[i], acc[i], t[0])
		k.fadd(acc[i+1], acc[i+1], t[1])
	}
	k.label("set")
	for i := 0; i < len(acc); i += 2 {
		k.op("VST1.P", list(acc[i:i+2]), fmt.Sprintf("(%s)(%s)", c, ldc))
	}
	k.op("RET")
}

func (k *neon) dotsTile() {
	k.kernel("dots", "(k int, a *float32, lda int, b *float32, ldb int, sums *[16]float32)",
		"sums[4*j+i] = the dot product of row i of a and row j of b, k elements each, a multiple of 16.")
	depth, sums := k.param("k"), k.param("sums")
	a, b := k.fourRows("a", "lda"), k.fourRows("b", "ldb")
	acc, x, y := k.zeros(16), k.vecs(4), k.vecs(4)
	k.loop("four", depth, 4, func() {
		for i := range 4 {
			k.load(a[i], x[i:i+1])
			k.load(b[i], y[i:i+1])
		}
		for i := range acc {
			k.fmla(acc[i], x[i%4], y[i/4])
		}
	})
	for n := 16; n > 4; n /= 2 { // pairs of lanes, twice
		for i := range n / 2 {
			k.faddp(acc[i], acc[2*i], acc[2*i+1])
		}
	}
	k.store(acc[:4], sums)
	k.op("RET")
}

// fourRows are the addresses of four rows.
func (k *neon) fourRows(base, ld string) [4]r {
	stride, rows := k.param(ld), [4]r{k.param(base), k.gp(), k.gp(), k.gp()}
	for i := 1; i < 4; i++ {
		k.op("ADD", fmt.Sprintf("%s<<2", stride), rows[i-1], rows[i])
	}
	return rows
}

func (k *neon) transpose() {
	k.kernel("transpose", "(k int, dst *float32, width int, src *float32, ld, rows int)",
		"dst[p*width+r] = src[min(r, rows-1)*ld+p] for p < k, a multiple of 4, and r < 4.")
	depth, dst, width, ld, rows := k.param("k"), k.param("dst"), k.param("width"), k.param("ld"), k.param("rows")
	k.op("LSL", "$2", width, width)
	k.op("LSL", "$2", ld, ld)
	src := [4]r{k.param("src"), k.gp(), k.gp(), k.gp()}
	for i := 1; i < 4; i++ {
		k.op("ADD", ld, src[i-1], src[i])
		k.op("CMP", fmt.Sprintf("$%d", i), rows)
		k.op("CSEL", "GT", src[i], src[i-1], src[i])
	}
	x, y, z := k.vecs(4), k.vecs(4), k.vecs(4)
	k.loop("four", depth, 4, func() {
		for i := range x {
			k.load(src[i], x[i:i+1])
		}
		for i := 0; i < 4; i += 2 { // y: pairs of rows, even and odd columns
			k.op("VTRN1", x[i+1].s4(), x[i].s4(), y[i].s4())
			k.op("VTRN2", x[i+1].s4(), x[i].s4(), y[i+1].s4())
		}
		for i := range 2 {
			k.op("VTRN1", d2(y[2+i]), d2(y[i]), d2(z[i]))
			k.op("VTRN2", d2(y[2+i]), d2(y[i]), d2(z[2+i]))
		}
		for i := range z {
			k.op("VST1.P", list(z[i:i+1]), fmt.Sprintf("(%s)(%s)", dst, width))
		}
	})
	k.op("RET")
}

func d2(x v) string { return x.String() + ".D2" }

func (k *neon) copyPanel() {
	k.kernel("copyPanel", "(k int, dst, src *float32, ld int)", "dst[p*8+j] = src[p*ld+j] for p < k and j < 8.")
	depth, dst, src, ld := k.param("k"), k.param("dst"), k.param("src"), k.param("ld")
	x := k.vecs(2)
	k.op("LSL", "$2", ld, ld)
	k.loop("one", depth, 1, func() {
		k.op("VLD1.P", fmt.Sprintf("(%s)(%s)", src, ld), list(x))
		k.store(x, dst)
	})
	k.op("RET")
}
