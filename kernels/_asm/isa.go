package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// An isa is a set of vector instructions that kernels are emitted for.
type isa struct {
	suffix string // of the kernel's Go name
	lanes  int    // float32s in a register
	regs   int    // vector registers
}

var (
	avx2   = isa{suffix: "AVX2", lanes: 8, regs: 16}
	avx512 = isa{suffix: "AVX512", lanes: 16, regs: 32}
)

// bytes is the size of a register.
func (s isa) bytes() int { return 4 * s.lanes }

// gen writes one file: avo's context, and what kernels have in common.
type gen struct {
	*build.Context
	isa
	constants map[uint32]operand.Mem
	tables    map[string]operand.Mem // of data
}

// kernel starts the function name+suffix of a signature such as "(n int, x *float32)", with its doc
// comment.
func (g *gen) kernel(s isa, name, signature string, doc ...string) {
	g.isa = s
	g.Function(name + s.suffix)
	g.Attributes(attr.NOSPLIT)
	g.SignatureExpr("func" + signature)
	g.Doc(append([]string{fmt.Sprintf("func %s%s%s", name, s.suffix, signature)}, doc...)...)
}

// end leaves the function.
func (g *gen) end() {
	g.VZEROUPPER()
	g.RET()
}

// vec is a new vector register.
func (g *gen) vec() reg.VecVirtual {
	if g.lanes == 16 {
		return g.ZMM()
	}
	return g.YMM()
}

// vecs are n new vector registers.
func (g *gen) vecs(n int) []reg.VecVirtual {
	v := make([]reg.VecVirtual, n)
	for i := range v {
		v[i] = g.vec()
	}
	return v
}

// param loads a parameter of the function into a general register.
func (g *gen) param(name string) reg.GPVirtual {
	r := g.GP64()
	g.Load(g.Param(name), r)
	return r
}

// zero clears a vector register.
func (g *gen) zero(v reg.VecVirtual) {
	if g.lanes == 16 {
		g.VPXORD(v, v, v)
		return
	}
	g.VXORPS(v, v, v)
}

// at is the float32 vector number i after base.
func (g *gen) at(base reg.Register, i int) operand.Mem {
	return operand.Mem{Base: base, Disp: i * g.bytes()}
}

// loop runs body while count, lowered by step each time, was at least step.
func (g *gen) loop(label string, count reg.Register, step int, body func()) {
	g.JMP(operand.LabelRef(label + "_check"))
	g.Label(label)
	body()
	g.SUBQ(operand.Imm(uint64(step)), count)
	g.Label(label + "_check")
	g.CMPQ(count, operand.Imm(uint64(step)))
	g.JGE(operand.LabelRef(label))
}
