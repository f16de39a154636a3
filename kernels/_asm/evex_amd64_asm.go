package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Instructions that Go's assembler lacks are laid out by avo like any other and written as their bytes, in the EVEX
// encoding of the Intel Software Developer's Manual, volume 2, section 2.7: three ZMM registers, opcode map 0F38, W 0.

// evexCode is the prefix (pp) and the opcode of an instruction.
type evexCode struct{ prefix, opcode byte }

// evexCodes are the instructions by their names.
var evexCodes = map[string]evexCode{
	"VDPBF16PS":      {2, 0x52},
	"VCVTNE2PS2BF16": {3, 0x72},
}

// vdpbf16ps adds to each float32 of acc the two products of the pairs of bfloat16 in a and b.
func (g *gen) vdpbf16ps(a, b, acc reg.VecVirtual) {
	g.evex("VDPBF16PS", []operand.Op{a, b, acc}, acc)
}

// vcvtne2ps2bf16 rounds low and high to bfloat16, ties to even: low's numbers are in the lower half of dst.
func (g *gen) vcvtne2ps2bf16(low, high, dst reg.VecVirtual) {
	g.evex("VCVTNE2PS2BF16", []operand.Op{low, high}, dst)
}

// evex adds an instruction that reads inputs and writes dst.
func (g *gen) evex(name string, inputs []operand.Op, dst operand.Op) {
	operands := inputs
	if len(inputs) == 2 {
		operands = []operand.Op{inputs[0], inputs[1], dst}
	}
	g.Instruction(&ir.Instruction{
		Opcode: name, Operands: operands, Inputs: inputs, Outputs: []operand.Op{dst}, ISA: []string{"AVX512_BF16"},
	})
}

var evexLine = regexp.MustCompile(`(?m)^\t(\w+) +Z(\d+), Z(\d+), Z(\d+)$`)

// prefetchw asks for the cache line at m, to be written: no other processor keeps it.
func (g *gen) prefetchw(m operand.Mem) {
	g.Instruction(&ir.Instruction{Opcode: "PREFETCHW", Operands: []operand.Op{m}, Inputs: []operand.Op{m},
		ISA: []string{"PRFCHW"}})
}

var prefetchwLine = regexp.MustCompile(`(?m)^\tPREFETCHW +(\d*)\((\w+)\)$`)

// baseRegisters are the numbers of the registers that an address may begin with, SP and R12 not among them.
var baseRegisters = map[string]byte{
	"AX": 0, "CX": 1, "DX": 2, "BX": 3, "BP": 5, "SI": 6, "DI": 7, "R8": 8, "R9": 9, "R10": 10, "R11": 11, "R13": 13,
	"R14": 14, "R15": 15,
}

// writePrefetchw turns PREFETCHW, which Go's assembler lacks, into bytes: REX.B, opcode 0F 0D /1, an 8-bit
// displacement.
func writePrefetchw(text []byte) []byte {
	return prefetchwLine.ReplaceAllFunc(text, func(line []byte) []byte {
		m := prefetchwLine.FindStringSubmatch(string(line))
		base, ok := baseRegisters[m[2]]
		disp, err := strconv.Atoi("0" + m[1])
		if !ok || err != nil || disp > 127 {
			panic("address " + m[0])
		}
		return fmt.Appendf(nil, "\tBYTE $0x%02x; BYTE $0x0f; BYTE $0x0d; BYTE $0x%02x; BYTE $0x%02x // PREFETCHW %d(%s)",
			0x40|base>>3, 0x48|base&7, disp, disp, m[2])
	})
}

// writeEVEX turns the lines of instructions that Go's assembler lacks into bytes, with the line beside them.
func writeEVEX(text []byte) []byte {
	return evexLine.ReplaceAllFunc(text, func(line []byte) []byte {
		m := evexLine.FindStringSubmatch(string(line))
		code, ok := evexCodes[m[1]]
		if !ok {
			return line
		}
		var z [3]byte
		for i := range z {
			n, err := strconv.Atoi(m[2+i])
			if err != nil || n > 31 {
				panic("register " + m[2+i])
			}
			z[i] = byte(n)
		}
		var out bytes.Buffer
		for i, b := range code.encode(z[0], z[1], z[2]) {
			fmt.Fprintf(&out, "%s BYTE $0x%02x", [2]string{"\t", ";"}[min(i, 1)], b)
		}
		return []byte(strings.Replace(out.String(), "\t ", "\t", 1) + " // " +
			strings.Join(strings.Fields(string(line)), " "))
	})
}

// encode is the bytes of an instruction on three ZMM registers; the second source and the destination are named last,
// as Go's assembler does.
func (c evexCode) encode(src2, src1, dst byte) [6]byte {
	const map0F38, vector512 = 2, 0x40
	not := func(n byte, bit int) byte { return ^n >> bit & 1 }
	return [6]byte{
		0x62,
		not(dst, 3)<<7 | not(src2, 4)<<6 | not(src2, 3)<<5 | not(dst, 4)<<4 | map0F38,
		(^src1&15)<<3 | 1<<2 | c.prefix,
		vector512 | not(src1, 4)<<3,
		c.opcode,
		0xc0 | dst&7<<3 | src2&7,
	}
}
