package main

// The kernels over slices. n is a multiple of 16, as on other architectures.

// vectorsAtATime is how many registers of a slice the simple loops take at a time.
const vectorsAtATime = 4

// blocks runs body over blocks of n elements; body is to move its pointers behind.
func (k *neon) blocks(vectors int, body func()) {
	k.loop("block", k.param("n"), 4*vectors, body)
}

func neonVectorFile(k *neon) {
	k.dot()
	k.axpy()
	k.scale()
	k.combine("add", "dst[i] += x[i]", k.fadd)
	k.combine("mul", "dst[i] *= x[i]", k.fmul)
	k.mulAdd()
	k.sumSquares()
	k.maximum()
}

func (k *neon) dot() {
	k.kernel("dot", "(n int, x, y *float32) float32", "the sum of x[i]*y[i]")
	px, py := k.param("x"), k.param("y")
	acc, x, y := k.zeros(vectorsAtATime), k.vecs(vectorsAtATime), k.vecs(vectorsAtATime)
	k.blocks(vectorsAtATime, func() {
		k.load(px, x)
		k.load(py, y)
		for i := range x {
			k.fmla(acc[i], x[i], y[i])
		}
	})
	k.give(k.sum(acc))
}

func (k *neon) axpy() {
	k.kernel("axpy", "(n int, a float32, x, y *float32)", "y[i] += a * x[i]")
	a, px, py := k.splat("a"), k.param("x"), k.param("y")
	x, y := k.vecs(vectorsAtATime), k.vecs(vectorsAtATime)
	k.blocks(vectorsAtATime, func() {
		k.load(px, x)
		k.peek(py, y)
		for i := range x {
			k.fmla(y[i], x[i], a)
		}
		k.store(y, py)
	})
	k.op("RET")
}

func (k *neon) scale() {
	k.kernel("scale", "(n int, a float32, x *float32)", "x[i] *= a")
	a, px, x := k.splat("a"), k.param("x"), k.vecs(vectorsAtATime)
	k.blocks(vectorsAtATime, func() {
		k.peek(px, x)
		for i := range x {
			k.fmul(x[i], x[i], a)
		}
		k.store(x, px)
	})
	k.op("RET")
}

func (k *neon) combine(name, doc string, op func(d, n, m v)) {
	k.kernel(name, "(n int, dst, x *float32)", doc)
	pd, px, d, x := k.param("dst"), k.param("x"), k.vecs(vectorsAtATime), k.vecs(vectorsAtATime)
	k.blocks(vectorsAtATime, func() {
		k.peek(pd, d)
		k.load(px, x)
		for i := range x {
			op(d[i], d[i], x[i])
		}
		k.store(d, pd)
	})
	k.op("RET")
}

func (k *neon) mulAdd() {
	k.kernel("mulAdd", "(n int, dst, x, y *float32)", "dst[i] += x[i] * y[i]")
	pd, px, py := k.param("dst"), k.param("x"), k.param("y")
	d, x, y := k.vecs(vectorsAtATime), k.vecs(vectorsAtATime), k.vecs(vectorsAtATime)
	k.blocks(vectorsAtATime, func() {
		k.peek(pd, d)
		k.load(px, x)
		k.load(py, y)
		for i := range x {
			k.fmla(d[i], x[i], y[i])
		}
		k.store(d, pd)
	})
	k.op("RET")
}

func (k *neon) sumSquares() {
	k.kernel("sumSquares", "(n int, x *float32) float64", "the sum of x[i]*x[i], in float64")
	px, acc, x, wide := k.param("x"), k.zeros(2*vectorsAtATime), k.vecs(vectorsAtATime), k.vecs(2*vectorsAtATime)
	k.blocks(vectorsAtATime, func() {
		k.load(px, x)
		for i := range x {
			k.fcvtl(wide[2*i], x[i])
			k.fcvtl2(wide[2*i+1], x[i])
		}
		for i, w := range wide {
			k.fmlaDouble(acc[i], w, w)
		}
	})
	k.giveDouble(acc)
}

// giveDouble returns the sum of the float64s of acc, which are the first registers taken.
func (k *neon) giveDouble(acc []v) {
	for n := len(acc) / 2; n > 0; n /= 2 {
		for i := range n {
			k.faddDouble(acc[i], acc[i], acc[n+i])
		}
	}
	k.faddpDouble(acc[0], acc[0])
	k.op("FMOVD", "F0", k.result())
	k.op("RET")
}

func (k *neon) maximum() {
	k.kernel("max", "(n int, x *float32) float32", "the largest of x[i]")
	px, largest, x := k.param("x"), k.bits(0xff800000), k.vecs(vectorsAtATime)
	k.blocks(vectorsAtATime, func() {
		k.load(px, x)
		k.fmax(x[0], x[0], x[1])
		k.fmax(x[2], x[2], x[3])
		k.fmax(x[0], x[0], x[2])
		k.fmax(largest, largest, x[0])
	})
	k.fmaxv(largest, largest)
	k.give(largest)
}

func neonNormFile(k *neon) {
	k.scaleMul()
	k.dot3()
	k.addMulAxpy()
	k.sumDouble()
	k.shift()
}

func (k *neon) scaleMul() {
	k.kernel("scaleMul", "(n int, y *float32, a float32, x, w *float32)", "y[i] = x[i] * a * w[i]")
	py, a, px, pw := k.param("y"), k.splat("a"), k.param("x"), k.param("w")
	x, w := k.vecs(vectorsAtATime), k.vecs(vectorsAtATime)
	k.blocks(vectorsAtATime, func() {
		k.load(px, x)
		k.load(pw, w)
		for i := range x {
			k.fmul(x[i], x[i], a)
			k.fmul(x[i], x[i], w[i])
		}
		k.store(x, py)
	})
	k.op("RET")
}

func (k *neon) dot3() {
	k.kernel("dot3", "(n int, x, y, z *float32) float32", "the sum of x[i]*y[i]*z[i]")
	px, py, pz := k.param("x"), k.param("y"), k.param("z")
	acc, x, y, z := k.zeros(vectorsAtATime), k.vecs(vectorsAtATime), k.vecs(vectorsAtATime), k.vecs(vectorsAtATime)
	k.blocks(vectorsAtATime, func() {
		k.load(px, x)
		k.load(py, y)
		k.load(pz, z)
		for i := range x {
			k.fmul(x[i], x[i], y[i])
			k.fmla(acc[i], x[i], z[i])
		}
	})
	k.give(k.sum(acc))
}

func (k *neon) addMulAxpy() {
	k.kernel("addMulAxpy", "(n int, dst *float32, a float32, x, y *float32, b float32, z *float32)",
		"dst[i] += a*x[i]*y[i] + b*z[i]")
	pd, px, py, pz := k.param("dst"), k.param("x"), k.param("y"), k.param("z")
	a, b := k.splat("a"), k.splat("b")
	d, x, y, z := k.vecs(vectorsAtATime), k.vecs(vectorsAtATime), k.vecs(vectorsAtATime), k.vecs(vectorsAtATime)
	k.blocks(vectorsAtATime, func() {
		k.peek(pd, d)
		k.load(px, x)
		k.load(py, y)
		k.load(pz, z)
		for i := range x {
			k.fmul(x[i], x[i], a)
			k.fmla(d[i], x[i], y[i])
			k.fmla(d[i], z[i], b)
		}
		k.store(d, pd)
	})
	k.op("RET")
}

func (k *neon) sumDouble() {
	k.kernel("sum", "(n int, x *float32) float64", "the sum of x[i], in float64")
	px, acc, x, wide := k.param("x"), k.zeros(2*vectorsAtATime), k.vecs(vectorsAtATime), k.vecs(2*vectorsAtATime)
	k.blocks(vectorsAtATime, func() {
		k.load(px, x)
		for i := range x {
			k.fcvtl(wide[2*i], x[i])
			k.fcvtl2(wide[2*i+1], x[i])
		}
		for i, w := range wide {
			k.faddDouble(acc[i], acc[i], w)
		}
	})
	k.giveDouble(acc)
}

func (k *neon) shift() {
	k.kernel("shift", "(n int, a float32, x *float32)", "x[i] += a")
	a, px, x := k.splat("a"), k.param("x"), k.vecs(vectorsAtATime)
	k.blocks(vectorsAtATime, func() {
		k.peek(px, x)
		for i := range x {
			k.fadd(x[i], x[i], a)
		}
		k.store(x, px)
	})
	k.op("RET")
}

func neonRopeFile(k *neon) {
	k.rope()
	k.ropeNeox()
}

func (k *neon) rope() {
	k.kernel("rope", "(n int, x, cos, sin *float32)",
		"x[2i], x[2i+1] = x[2i]*cos[i] - x[2i+1]*sin[i], x[2i]*sin[i] + x[2i+1]*cos[i]")
	px, pc, ps := k.param("x"), k.param("cos"), k.param("sin")
	x, cs, y := k.vecs(2), k.vecs(2), k.vecs(2)
	k.blocks(1, func() {
		k.op("VLD2", "("+px.String()+")", list(x)) // even and odd elements
		k.load(pc, cs[:1])
		k.load(ps, cs[1:])
		k.rotate(x, cs, y)
		k.op("VST2", list(y), "("+px.String()+")")
		k.op("ADD", "$32", px)
	})
	k.op("RET")
}

// rotate sets y to the pair x, turned by the angle whose cosine and sine are cs.
func (k *neon) rotate(x, cs, y []v) {
	k.fmul(y[0], x[0], cs[0])
	k.fmls(y[0], x[1], cs[1])
	k.fmul(y[1], x[1], cs[0])
	k.fmla(y[1], x[0], cs[1])
}

func (k *neon) ropeNeox() {
	k.kernel("ropeNeox", "(n int, x, y, cos, sin *float32)",
		"x[i], y[i] = x[i]*cos[i] - y[i]*sin[i], x[i]*sin[i] + y[i]*cos[i]")
	px, py, pc, ps := k.param("x"), k.param("y"), k.param("cos"), k.param("sin")
	x, cs, y := k.vecs(2), k.vecs(2), k.vecs(2)
	k.blocks(1, func() {
		k.peek(px, x[:1])
		k.peek(py, x[1:])
		k.load(pc, cs[:1])
		k.load(ps, cs[1:])
		k.rotate(x, cs, y)
		k.store(y[:1], px)
		k.store(y[1:], py)
	})
	k.op("RET")
}
