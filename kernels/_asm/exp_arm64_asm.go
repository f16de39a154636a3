package main

import "math"

// neonExp holds the registers of the exponential, which is that of the amd64 kernels.
type neonExp struct {
	*neon
	log2e, ln2High, ln2Low, low, high, one v
	bias                                   v // 127, as integers
	polynomial                             [5]v
	n, r, q, t                             v // temporaries
}

func (k *neon) newExp() *neonExp {
	e := &neonExp{neon: k, log2e: k.constant(math.Log2E), ln2High: k.constant(ln2High), ln2Low: k.constant(ln2Low),
		low: k.constant(expLow), high: k.constant(expHigh), one: k.constant(1), bias: k.bits(127)}
	for i, c := range expPolynomial {
		e.polynomial[i] = k.constant(c)
	}
	e.n, e.r, e.q, e.t = k.vec(), k.vec(), k.vec(), k.vec()
	return e
}

// exp sets y to the exponentials of x.
func (e *neonExp) exp(y, x v) {
	e.fmax(e.r, x, e.low)
	e.fmin(e.r, e.r, e.high)
	e.expMinusOne()
	e.fadd(e.q, e.r, e.one)
	e.timesPowerOf2(e.q, e.t)
	e.fcmgt(e.t, e.low, x)
	e.bic(y, e.q, e.t)
}

// expMinusOne takes n ln 2 off r, which is between low and high, and makes r exp(r) - 1 of the rest.
func (e *neonExp) expMinusOne() {
	e.fmul(e.n, e.r, e.log2e)
	e.fcvtns(e.n, e.n)
	e.scvtf(e.t, e.n)
	e.fmls(e.r, e.t, e.ln2High)
	e.fmls(e.r, e.t, e.ln2Low)
	q, t := e.q, e.t
	e.move(e.polynomial[4], q)
	for i := 3; i >= 0; i-- { // q = q*r + the next coefficient
		e.move(e.polynomial[i], t)
		e.fmla(t, q, e.r)
		q, t = t, q
	}
	e.fmul(t, e.r, e.r)
	e.fmla(e.r, t, q)
}

// timesPowerOf2 multiplies x by 2^n, half of n at a time.
func (e *neonExp) timesPowerOf2(x, t v) {
	e.sshr(t, e.n, 1)
	e.op("VSUB", t.s4(), e.n.s4(), e.n.s4())
	for _, part := range []v{t, e.n} {
		e.op("VADD", e.bias.s4(), part.s4(), part.s4())
		e.op("VSHL", "$23", part.s4(), part.s4())
		e.fmul(x, x, part)
	}
}

// onePlusExpOfMinus sets y to 1 + exp(-x).
func (e *neonExp) onePlusExpOfMinus(y, x v) {
	e.fneg(y, x)
	e.exp(y, y)
	e.fadd(y, y, e.one)
}

func neonSoftmaxFile(k *neon) {
	k.kernel("expSum", "(n int, x *float32, max float32) float32", "x[i] = exp(x[i]-max); the sum of them")
	px, limit, e := k.param("x"), k.splat("max"), k.newExp()
	acc, x, y := k.zeros(1), k.vecs(1), k.vecs(1)
	k.blocks(1, func() {
		k.peek(px, x)
		k.fsub(x[0], x[0], limit)
		e.exp(y[0], x[0])
		k.fadd(acc[0], acc[0], y[0])
		k.store(y, px)
	})
	k.give(k.sum(acc))
}

// neonSoftCapFile holds softCap as on amd64.
func neonSoftCapFile(k *neon) {
	k.kernel("softCap", "(n int, x *float32, limit, inverse float32)", "x[i] = limit * tanh(x[i]*inverse)")
	px, limit, twice, e := k.param("x"), k.splat("limit"), k.splat("inverse"), k.newExp()
	high, two, signs := k.constant(tanhHigh), k.constant(2), k.bits(1<<31)
	k.fadd(twice, twice, twice)
	x, y, power := k.vecs(1), k.vecs(1), k.vec()
	k.blocks(1, func() {
		k.peek(px, x)
		k.bic(e.r, x[0], signs)
		k.fmul(e.r, e.r, twice)
		k.fmin(e.r, e.r, high)
		e.expMinusOne()
		k.move(e.one, power)
		e.timesPowerOf2(power, e.t)
		k.fsub(y[0], power, e.one)
		k.fmla(y[0], power, e.r) // exp(2|x|) - 1
		k.fadd(e.t, y[0], two)
		k.fdiv(y[0], y[0], e.t)
		k.fmul(y[0], y[0], limit)
		k.op("VAND", b16(signs), b16(x[0]), b16(x[0]))
		k.op("VORR", b16(x[0]), b16(y[0]), b16(y[0]))
		k.store(y, px)
	})
	k.op("RET")
}

func neonSwigluFile(k *neon) {
	k.swiglu()
	k.swigluBackward()
	k.gated()
	k.gatedBackward()
	k.sigmoidMul()
	k.sigmoidMulBackward()
	k.clamp()
	k.addWithin()
}

func (k *neon) swiglu() {
	k.kernel("swiglu", "(n int, y, gate, u *float32)", "y[i] = gate[i] / (1 + exp(-gate[i])) * u[i]")
	py, pg, pu, e := k.param("y"), k.param("gate"), k.param("u"), k.newExp()
	gate, u, y := k.vecs(1), k.vecs(1), k.vecs(1)
	k.blocks(1, func() {
		k.load(pg, gate)
		k.load(pu, u)
		e.onePlusExpOfMinus(y[0], gate[0])
		k.fdiv(y[0], gate[0], y[0])
		k.fmul(y[0], y[0], u[0])
		k.store(y, py)
	})
	k.op("RET")
}

func (k *neon) swigluBackward() {
	k.kernel("swigluBackward", "(n int, dg, du, dy, gate, u *float32)",
		"with s = 1 / (1 + exp(-gate[i])):",
		"dg[i] += dy[i] * u[i] * s * (1 + gate[i]*(1-s))",
		"du[i] += dy[i] * gate[i] * s")
	pdg, pdu, pdy, pg, pu := k.param("dg"), k.param("du"), k.param("dy"), k.param("gate"), k.param("u")
	e := k.newExp()
	gate, u, d, s, sum, t := k.vecs(1), k.vecs(1), k.vecs(1), k.vec(), k.vecs(1), k.vec()
	k.blocks(1, func() {
		k.load(pg, gate)
		k.load(pu, u)
		k.load(pdy, d)
		e.onePlusExpOfMinus(s, gate[0])
		k.fdiv(s, e.one, s)
		k.fmul(d[0], d[0], s) // dy*s
		k.peek(pdu, sum)
		k.fmla(sum[0], d[0], gate[0])
		k.store(sum, pdu)
		k.fsub(s, e.one, s)
		k.move(e.one, t)
		k.fmla(t, gate[0], s)
		k.fmul(d[0], d[0], u[0])
		k.peek(pdg, sum)
		k.fmla(sum[0], d[0], t)
		k.store(sum, pdg)
	})
	k.op("RET")
}

// cubic holds the registers of the polynomial of gated.
type cubic struct{ a, b, low, high, h, z, t v }

func (k *neon) newCubic() cubic {
	return cubic{k.splat("a"), k.splat("b"), k.constant(-gatedLimit), k.constant(gatedLimit), k.vec(), k.vec(), k.vec()}
}

// gatedCube sets h to the gate within its limits and z to a*h + b*h³.
func (k *neon) gatedCube(c cubic, gate v) {
	k.fmax(c.h, gate, c.low)
	k.fmin(c.h, c.h, c.high)
	k.fmul(c.z, c.h, c.h)
	k.move(c.a, c.t)
	k.fmla(c.t, c.z, c.b)
	k.fmul(c.z, c.t, c.h)
}

func (k *neon) gated() {
	k.kernel("gated", "(n int, y, gate, u *float32, a, b float32)",
		"with h = min(max(gate[i], -1e4), 1e4) and z = a*h + b*h*h*h:",
		"y[i] = gate[i] / (1 + exp(-z)) * u[i]")
	py, pg, pu, e, c := k.param("y"), k.param("gate"), k.param("u"), k.newExp(), k.newCubic()
	gate, u, y := k.vecs(1), k.vecs(1), k.vecs(1)
	k.blocks(1, func() {
		k.load(pg, gate)
		k.load(pu, u)
		k.gatedCube(c, gate[0])
		e.onePlusExpOfMinus(y[0], c.z)
		k.fdiv(y[0], gate[0], y[0])
		k.fmul(y[0], y[0], u[0])
		k.store(y, py)
	})
	k.op("RET")
}

func (k *neon) gatedBackward() {
	k.kernel("gatedBackward", "(n int, dg, du, dy, gate, u *float32, a, b float32)",
		"with h and z as in gated and s = 1 / (1 + exp(-z)):",
		"dg[i] += dy[i] * u[i] * s * (1 + (a*h + 3*b*h*h*h)*(1-s))",
		"du[i] += dy[i] * gate[i] * s")
	pdg, pdu, pdy, pg, pu := k.param("dg"), k.param("du"), k.param("dy"), k.param("gate"), k.param("u")
	e, c := k.newExp(), k.newCubic()
	gate, u, d, s, sum := k.vecs(1), k.vecs(1), k.vecs(1), k.vec(), k.vecs(1)
	k.blocks(1, func() {
		k.load(pg, gate)
		k.load(pu, u)
		k.load(pdy, d)
		k.gatedCube(c, gate[0])
		e.onePlusExpOfMinus(s, c.z)
		k.fdiv(s, e.one, s)
		k.fmul(d[0], d[0], s) // dy*s
		k.peek(pdu, sum)
		k.fmla(sum[0], d[0], gate[0])
		k.store(sum, pdu)
		k.move(c.z, c.t)
		k.fmls(c.t, c.a, c.h) // b*h³
		k.fadd(c.t, c.t, c.t)
		k.fadd(c.t, c.t, c.z) // a*h + 3*b*h³
		k.fsub(s, e.one, s)
		k.move(e.one, c.h)
		k.fmla(c.h, c.t, s)
		k.fmul(d[0], d[0], u[0])
		k.peek(pdg, sum)
		k.fmla(sum[0], d[0], c.h)
		k.store(sum, pdg)
	})
	k.op("RET")
}

func (k *neon) sigmoidMul() {
	k.kernel("sigmoidMul", "(n int, y, x, gate *float32)", "y[i] = x[i] / (1 + exp(-gate[i]))")
	py, px, pg, e := k.param("y"), k.param("x"), k.param("gate"), k.newExp()
	x, gate := k.vecs(1), k.vecs(1)
	k.blocks(1, func() {
		k.load(px, x)
		k.load(pg, gate)
		e.onePlusExpOfMinus(gate[0], gate[0])
		k.fdiv(x[0], x[0], gate[0])
		k.store(x, py)
	})
	k.op("RET")
}

func (k *neon) sigmoidMulBackward() {
	k.kernel("sigmoidMulBackward", "(n int, dx, dg, dy, x, gate *float32)",
		"with s = 1 / (1 + exp(-gate[i])):",
		"dx[i] += dy[i] * s",
		"dg[i] += dy[i] * s * (1-s) * x[i]")
	pdx, pdg, pdy, px, pg := k.param("dx"), k.param("dg"), k.param("dy"), k.param("x"), k.param("gate")
	e := k.newExp()
	x, gate, d, sum, s := k.vecs(1), k.vecs(1), k.vecs(1), k.vecs(1), k.vec()
	k.blocks(1, func() {
		k.load(px, x)
		k.load(pg, gate)
		k.load(pdy, d)
		e.onePlusExpOfMinus(s, gate[0])
		k.fdiv(s, e.one, s)
		k.fmul(d[0], d[0], s) // dy*s
		k.peek(pdx, sum)
		k.fadd(sum[0], sum[0], d[0])
		k.store(sum, pdx)
		k.fsub(s, e.one, s)
		k.fmul(d[0], d[0], s)
		k.peek(pdg, sum)
		k.fmla(sum[0], d[0], x[0])
		k.store(sum, pdg)
	})
	k.op("RET")
}

func (k *neon) clamp() {
	k.kernel("clamp", "(n int, y, x *float32, low, high float32)", "y[i] = min(max(x[i], low), high)")
	py, px, low, high, x := k.param("y"), k.param("x"), k.splat("low"), k.splat("high"), k.vecs(vectorsAtATime)
	k.blocks(vectorsAtATime, func() {
		k.load(px, x)
		for _, v := range x {
			k.fmax(v, v, low)
			k.fmin(v, v, high)
		}
		k.store(x, py)
	})
	k.op("RET")
}

func (k *neon) addWithin() {
	k.kernel("addWithin", "(n int, dst, d, x *float32, low, high float32)", "dst[i] += d[i] where low <= x[i] <= high")
	pdst, pd, px, low, high := k.param("dst"), k.param("d"), k.param("x"), k.splat("low"), k.splat("high")
	sum, d, x, t := k.vecs(vectorsAtATime), k.vecs(vectorsAtATime), k.vecs(vectorsAtATime), k.vec()
	k.blocks(vectorsAtATime, func() {
		k.peek(pdst, sum)
		k.load(pd, d)
		k.load(px, x)
		for i := range x {
			k.fcmgt(t, low, x[i])
			k.bic(d[i], d[i], t)
			k.fcmgt(t, x[i], high)
			k.bic(d[i], d[i], t)
			k.fadd(sum[i], sum[i], d[i])
		}
		k.store(sum, pdst)
	})
	k.op("RET")
}

func neonAdamwFile(k *neon) {
	k.kernel("adamw", "(n int, p, grad, m, v *float32, c *float32)",
		"with c pointing to beta1, oneMinusBeta1, beta2, oneMinusBeta2, decay, step, root, eps in this order:",
		"m[i] = beta1*m[i] + oneMinusBeta1*grad[i]",
		"v[i] = beta2*v[i] + oneMinusBeta2*grad[i]*grad[i]",
		"p[i] = p[i]*decay - step*m[i]/(sqrt(v[i])*root + eps)")
	pp, pg, pm, pv, pc := k.param("p"), k.param("grad"), k.param("m"), k.param("v"), k.param("c")
	c := k.vecs(8)
	for _, x := range c {
		k.op("VLD1R.P", "4("+pc.String()+")", list([]v{x}))
	}
	p, d, m, x, t := k.vecs(1), k.vecs(1), k.vecs(1), k.vecs(1), k.vec()
	k.blocks(1, func() {
		k.load(pg, d)
		k.peek(pm, m)
		k.fmul(m[0], m[0], c[0])
		k.fmla(m[0], d[0], c[1])
		k.store(m, pm)
		k.fmul(d[0], d[0], d[0])
		k.fmul(d[0], d[0], c[3])
		k.peek(pv, x)
		k.fmul(x[0], x[0], c[2])
		k.fadd(x[0], x[0], d[0])
		k.store(x, pv)
		k.fsqrt(x[0], x[0])
		k.move(c[7], t)
		k.fmla(t, x[0], c[6])
		k.fmul(m[0], m[0], c[5])
		k.fdiv(m[0], m[0], t)
		k.peek(pp, p)
		k.fmul(p[0], p[0], c[4])
		k.fsub(p[0], p[0], m[0])
		k.store(p, pp)
	})
	k.op("RET")
}

func neonPeakFile(k *neon) {
	const doc = "n rounds of 12 independent vector multiply-adds, twice"
	k.peak("peak", doc, k.fmla)
	k.peak("peakBF16", doc+" (BFMMLA)", k.bfmmla)
	k.peak("peakMatrices", doc+" (SMMLA)", k.smmla)
	k.peak("peakDots", doc+" (SDOT)", func(d, n, m v) { k.sdotElement(d, n, m, 0) })
}

func (k *neon) peak(name, doc string, multiply func(d, n, m v)) {
	k.kernel(name, "(n int)", doc)
	acc, x := k.zeros(2*peakChains), k.zeros(1)
	k.blocksOf("round", func() {
		for _, a := range acc {
			multiply(a, x[0], x[0])
		}
	})
	k.op("RET")
}

// blocksOf runs body n times.
func (k *neon) blocksOf(label string, body func()) { k.loop(label, k.param("n"), 1, body) }
