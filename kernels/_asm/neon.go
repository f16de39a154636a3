package main

import (
	"bytes"
	"fmt"
	"math"
	"strings"

	"github.com/mmcloughlin/avo/gotypes"
)

// neon writes a file of NEON kernels: instructions that Go's assembler knows by op, the others by word, in
// the encoding of the Arm Architecture Reference Manual (DDI 0487), section C7.2.
type neon struct {
	out       bytes.Buffer
	signature *gotypes.Signature
	vectors   int // registers taken by the current kernel
	generals  int
}

// A v is a vector register, a r a general one.
type (
	v int
	r int
)

func (x v) String() string { return fmt.Sprintf("V%d", int(x)) }
func (x r) String() string { return fmt.Sprintf("R%d", int(x)) }

// s4 is the register as four float32s, for Go's assembler.
func (x v) s4() string { return x.String() + ".S4" }

// list is some registers as float32s, for loads and stores.
func list(x []v) string {
	var names []string
	for _, v := range x {
		names = append(names, v.s4())
	}
	return "[" + strings.Join(names, ", ") + "]"
}

// kernel starts the function name+NEON of a signature such as "(n int, x *float32)", with its doc comment.
func (k *neon) kernel(name, signature string, doc ...string) {
	s, err := gotypes.ParseSignature("func" + signature)
	if err != nil {
		panic(err)
	}
	k.signature, k.vectors, k.generals = s, 0, 0
	k.printf("\n// func %sNEON%s\n", name, signature)
	for _, line := range doc {
		k.printf("// %s\n", line)
	}
	k.printf("TEXT ·%sNEON(SB), NOSPLIT, $0-%d\n", name, s.Bytes())
}

func (k *neon) printf(format string, args ...any) { fmt.Fprintf(&k.out, format, args...) }

// op writes an instruction that Go's assembler knows.
func (k *neon) op(name string, args ...any) {
	var text []string
	for _, a := range args {
		text = append(text, fmt.Sprint(a))
	}
	k.printf("\t%s %s\n", name, strings.Join(text, ", "))
}

// word writes an instruction by its encoding, with its text in Arm's notation.
func (k *neon) word(encoding uint32, format string, args ...any) {
	k.printf("\tWORD $0x%08x // %s\n", encoding, fmt.Sprintf(format, args...))
}

func (k *neon) label(name string) { k.printf("\n%s:\n", name) }

// vec is a register not used before in the kernel.
func (k *neon) vec() v { return k.vecs(1)[0] }

// vecs are n consecutive registers not used before in the kernel.
func (k *neon) vecs(n int) []v {
	x := make([]v, n)
	for i := range x {
		x[i] = v(k.vectors)
		k.vectors++
	}
	if k.vectors > 32 {
		panic("out of vector registers")
	}
	return x
}

// gp is a general register not used before in the kernel.
func (k *neon) gp() r {
	if k.generals > 15 { // R16 and up have other uses
		panic("out of general registers")
	}
	k.generals++
	return r(k.generals - 1)
}

// parameter is where a parameter lies.
func (k *neon) parameter(name string) string { return k.address(k.signature.Params().Lookup(name)) }

// result is where the result lies.
func (k *neon) result() string { return k.address(k.signature.Results().At(0)) }

func (k *neon) address(c gotypes.Component) string {
	b, err := c.Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr.Asm()
}

// param loads an integer or a pointer.
func (k *neon) param(name string) r {
	x := k.gp()
	k.op("MOVD", k.parameter(name), x)
	return x
}

// splat fills a new register with a float32 parameter.
func (k *neon) splat(name string) v {
	x, t := k.vec(), k.gp()
	k.op("MOVWU", k.parameter(name), t)
	k.op("VDUP", t, x.s4())
	return x
}

// constant fills a new register with a float32.
func (k *neon) constant(x float32) v { return k.bits(math.Float32bits(x)) }

// bits fills a new register with a 32-bit pattern.
func (k *neon) bits(x uint32) v {
	y := k.vec()
	k.op("MOVD", fmt.Sprintf("$0x%08x", x), "R16")
	k.op("VDUP", "R16", y.s4())
	return y
}

// zero clears a register. (An exclusive or of a register with itself would wait for it.)
func (k *neon) zero(x v) { k.op("VMOVI", "$0", b16(x)) }

// zeros are n cleared registers.
func (k *neon) zeros(n int) []v {
	x := k.vecs(n)
	for _, v := range x {
		k.zero(v)
	}
	return x
}

func (k *neon) move(from, to v) { k.op("VMOV", b16(from), b16(to)) }

func b16(x v) string { return x.String() + ".B16" }

// loop runs body while count, lowered by step each time, is at least step.
func (k *neon) loop(label string, count r, step int, body func()) {
	k.op("JMP", label+"_check")
	k.label(label)
	body()
	k.op("SUB", fmt.Sprintf("$%d", step), count)
	k.label(label + "_check")
	k.op("CMP", fmt.Sprintf("$%d", step), count)
	k.op("BGE", label)
}

// load reads registers from p and moves p behind.
func (k *neon) load(p r, x []v) { k.op("VLD1.P", fmt.Sprintf("%d(%s)", 16*len(x), p), list(x)) }

// peek reads registers from p.
func (k *neon) peek(p r, x []v) { k.op("VLD1", fmt.Sprintf("(%s)", p), list(x)) }

// store writes registers to p and moves p behind: by an instruction of its own, because what the store itself writes
// back waits for the registers on some processors, and a load from p then waits for it.
func (k *neon) store(x []v, p r) {
	k.op("VST1", list(x), fmt.Sprintf("(%s)", p))
	k.op("ADD", fmt.Sprintf("$%d", 16*len(x)), p)
}

// The instructions of three registers, on four float32s: d = n op m, or d += n*m.

func (k *neon) three(encoding uint32, name string, d, n, m v) {
	k.word(encoding|uint32(m)<<16|uint32(n)<<5|uint32(d), "%s V%d.4S, V%d.4S, V%d.4S", name, d, n, m)
}

func (k *neon) fadd(d, n, m v)  { k.three(0x4e20d400, "FADD", d, n, m) }
func (k *neon) fsub(d, n, m v)  { k.three(0x4ea0d400, "FSUB", d, n, m) }
func (k *neon) fmul(d, n, m v)  { k.three(0x6e20dc00, "FMUL", d, n, m) }
func (k *neon) fdiv(d, n, m v)  { k.three(0x6e20fc00, "FDIV", d, n, m) }
func (k *neon) fmax(d, n, m v)  { k.three(0x4e20f400, "FMAX", d, n, m) }
func (k *neon) fmin(d, n, m v)  { k.three(0x4ea0f400, "FMIN", d, n, m) }
func (k *neon) faddp(d, n, m v) { k.three(0x6e20d400, "FADDP", d, n, m) }
func (k *neon) fcmgt(d, n, m v) { k.three(0x6ea0e400, "FCMGT", d, n, m) }
func (k *neon) fmla(d, n, m v)  { k.three(0x4e20cc00, "FMLA", d, n, m) }
func (k *neon) fmls(d, n, m v)  { k.three(0x4ea0cc00, "FMLS", d, n, m) }

// bic is d = n without the bits of m.
func (k *neon) bic(d, n, m v) {
	k.word(0x4e601c00|uint32(m)<<16|uint32(n)<<5|uint32(d), "BIC V%d.16B, V%d.16B, V%d.16B", d, n, m)
}

// The instructions of two registers.

func (k *neon) two(encoding uint32, name string, d, n v) {
	k.word(encoding|uint32(n)<<5|uint32(d), "%s V%d.4S, V%d.4S", name, d, n)
}

func (k *neon) fneg(d, n v)   { k.two(0x6ea0f800, "FNEG", d, n) }
func (k *neon) fsqrt(d, n v)  { k.two(0x6ea1f800, "FSQRT", d, n) }
func (k *neon) fcvtns(d, n v) { k.two(0x4e21a800, "FCVTNS", d, n) } // to the nearest int32, ties to even
func (k *neon) scvtf(d, n v)  { k.two(0x4e21d800, "SCVTF", d, n) }  // from int32

// sshr is d = n >> shift of int32s.
func (k *neon) sshr(d, n v, shift int) {
	k.word(0x4f000400|uint32(64-shift)<<16|uint32(n)<<5|uint32(d), "SSHR V%d.4S, V%d.4S, #%d", d, n, shift)
}

// fmlaElement is d += n * m[i].
func (k *neon) fmlaElement(d, n, m v, i int) {
	encoding := 0x4f801000 | uint32(i&1)<<21 | uint32(i>>1)<<11 | uint32(m)<<16 | uint32(n)<<5 | uint32(d)
	k.word(encoding, "FMLA V%d.4S, V%d.4S, V%d.S[%d]", d, n, m, i)
}

// fmaxv is the largest of n's four float32s, in the lowest of d.
func (k *neon) fmaxv(d, n v) {
	k.word(0x6e30f800|uint32(n)<<5|uint32(d), "FMAXV S%d, V%d.4S", d, n)
}

// The instructions on two float64s.

func (k *neon) fmlaDouble(d, n, m v) {
	k.word(0x4e60cc00|uint32(m)<<16|uint32(n)<<5|uint32(d), "FMLA V%d.2D, V%d.2D, V%d.2D", d, n, m)
}

func (k *neon) faddDouble(d, n, m v) {
	k.word(0x4e60d400|uint32(m)<<16|uint32(n)<<5|uint32(d), "FADD V%d.2D, V%d.2D, V%d.2D", d, n, m)
}

// faddpDouble is the sum of n's two float64s.
func (k *neon) faddpDouble(d, n v) {
	k.word(0x7e70d800|uint32(n)<<5|uint32(d), "FADDP D%d, V%d.2D", d, n)
}

// fcvtl makes float64s of the lower two float32s, fcvtl2 of the upper two.
func (k *neon) fcvtl(d, n v) {
	k.word(0x0e617800|uint32(n)<<5|uint32(d), "FCVTL V%d.2D, V%d.2S", d, n)
}

func (k *neon) fcvtl2(d, n v) {
	k.word(0x4e617800|uint32(n)<<5|uint32(d), "FCVTL2 V%d.2D, V%d.4S", d, n)
}

// sum leaves the sum of the four float32s of all registers in the lowest of x[0].
func (k *neon) sum(x []v) v {
	for n := len(x) / 2; n > 0; n /= 2 {
		for i := range n {
			k.fadd(x[i], x[i], x[n+i])
		}
	}
	k.faddp(x[0], x[0], x[0])
	k.faddp(x[0], x[0], x[0])
	return x[0]
}

// give returns the lowest float32 of x.
func (k *neon) give(x v) {
	k.op("FMOVS", fmt.Sprintf("F%d", int(x)), k.result())
	k.op("RET")
}

// arm64Source is the text of one file.
func arm64Source(generate func(k *neon)) []byte {
	k := &neon{}
	k.printf("// Code generated by kernels/_asm. DO NOT EDIT.\n\n//go:build !purego\n\n#include \"textflag.h\"\n")
	generate(k)
	return k.out.Bytes()
}
