package main

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/gotypes"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// block is what the number of elements given to a kernel over vectors is a multiple of.
const block = 16

// stream runs body over the n elements of the slices whose parameters are named: over unroll vectors at a
// time, then over blocks. body gets the vectors' addresses, at[slice][vector].
func (g *gen) stream(n reg.Register, unroll int, names []string, body func(at [][]operand.Mem)) {
	index := g.GP64()
	g.XORQ(index, index)
	base := make([]reg.Register, len(names))
	for i, name := range names {
		base[i] = g.param(name)
	}
	pass := func(vectors int) func() {
		return func() {
			at := make([][]operand.Mem, len(base))
			for i, b := range base {
				for v := range vectors {
					at[i] = append(at[i], operand.Mem{Base: b, Index: index, Scale: 4, Disp: v * g.bytes()})
				}
			}
			body(at)
			g.ADDQ(operand.Imm(uint64(vectors*g.lanes)), index)
		}
	}
	if few := block / g.lanes; unroll > few {
		g.loop("many", n, unroll*g.lanes, pass(unroll))
		g.loop("block", n, block, pass(few))
	} else {
		g.loop("block", n, unroll*g.lanes, pass(unroll))
	}
}

// splat fills a new register with a float32 parameter.
func (g *gen) splat(name string) reg.VecVirtual {
	v := g.vec()
	g.VBROADCASTSS(g.address(g.Param(name)), v)
	return v
}

// address is where a parameter or result lies.
func (g *gen) address(c gotypes.Component) operand.Mem {
	b, err := c.Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}

// number is the address of a vector full of v.
func (g *gen) number(v float32) operand.Mem { return g.bits(math.Float32bits(v)) }

// bits is the address of a vector full of the 32-bit pattern v.
func (g *gen) bits(v uint32) operand.Mem {
	if m, ok := g.constants[v]; ok {
		return m
	}
	m := g.StaticGlobal(fmt.Sprintf("c%08x", v))
	g.DataAttributes(attr.RODATA | attr.NOPTR)
	for range avx512.lanes {
		g.AppendDatum(operand.U32(v))
	}
	g.constants[v] = m
	return m
}

// constant fills a new register with v.
func (g *gen) constant(v float32) reg.VecVirtual {
	x := g.vec()
	g.VMOVUPS(g.number(v), x)
	return x
}

// load reads vectors into new registers.
func (g *gen) load(at []operand.Mem) []reg.VecVirtual {
	v := g.vecs(len(at))
	for i := range v {
		g.VMOVUPS(at[i], v[i])
	}
	return v
}

// store writes registers.
func (g *gen) store(v []reg.VecVirtual, at []operand.Mem) {
	for i := range v {
		g.VMOVUPS(v[i], at[i])
	}
}

// zeros are n cleared registers.
func (g *gen) zeros(n int) []reg.VecVirtual {
	v := g.vecs(n)
	for _, x := range v {
		g.zero(x)
	}
	return v
}

// fold combines the registers pairwise until one is left, then its halves until one lane is left.
func (g *gen) fold(v []reg.VecVirtual, combine func(ops ...operand.Op)) reg.Register {
	for n := len(v) / 2; n > 0; n /= 2 {
		for i := range n {
			combine(v[n+i], v[i], v[i])
		}
	}
	return g.foldLanes(v[0], combine)
}

// foldLanes combines the lanes of a register of float32 into its lowest.
func (g *gen) foldLanes(v reg.VecVirtual, combine func(ops ...operand.Op)) reg.Register {
	x := g.quarter(v, combine)
	high := g.XMM()
	g.VMOVHLPS(x, x, high)
	combine(high, x, x)
	g.VMOVSHDUP(x, high)
	combine(high, x, x)
	return x
}

// quarter combines the 128-bit parts of a register into the lowest.
func (g *gen) quarter(v reg.VecVirtual, combine func(ops ...operand.Op)) reg.Register {
	if g.lanes == 16 {
		high := g.YMM()
		g.VEXTRACTF64X4(operand.Imm(1), v, high)
		combine(high, v.AsY(), v.AsY())
	}
	high := g.XMM()
	g.VEXTRACTF128(operand.Imm(1), v.AsY(), high)
	combine(high, v.AsX(), v.AsX())
	return v.AsX()
}

// give returns the lowest float32 of x.
func (g *gen) give(x reg.Register) {
	g.VMOVSS(x, g.address(g.ReturnIndex(0)))
	g.end()
}
