package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Products by the tile registers of AMX. A register, tmm0 to tmm7, has 16 rows of 64 bytes. A tile of C is 32 × 32, of
// four registers; of A 32 rows of 64 bytes along k, of two; of B 16 words along k of 32 columns, of two.
//
// The configuration of the registers is loaded when a kernel begins and released when it ends, so that no state of them
// is there outside of a kernel: none to be kept by a system call or when a thread loses its processor.

// amx names kernels of these instructions. Beside them they use those of avx512.
var amx = isa{suffix: "AMX", lanes: 16, regs: 32}

const (
	tileRows    = 16   // of a tile register
	tileBytes   = 1024 // of it
	rowBytes    = 64
	panelBytesB = 128 // from one word along k of a panel of B to the next, and of a row of sums
)

// vexCode is the prefix (pp) and the opcode of an instruction on tile registers: VEX.128.0F38.W0 of the Intel Software
// Developer's Manual, volume 2.
type vexCode struct{ prefix, opcode byte }

// Instructions on three tile registers, on one and memory, on memory alone, on one register, and on none.
var (
	tileProducts = map[string]vexCode{"TDPBSSD": {3, 0x5e}, "TDPBF16PS": {2, 0x5c}}
	tileMoves    = map[string]vexCode{"TILELOADD": {3, 0x4b}, "TILESTORED": {2, 0x4b}}
	tileConfig   = vexCode{0, 0x49} // LDTILECFG and TILERELEASE
	tileZero     = vexCode{3, 0x49}
)

// tileInstruction adds an instruction whose tile registers are numbers.
func (g *gen) tileInstruction(name string, operands ...operand.Op) {
	var inputs []operand.Op
	for _, o := range operands {
		if m, ok := o.(operand.Mem); ok {
			inputs = append(inputs, m)
		}
	}
	g.Instruction(&ir.Instruction{Opcode: name, Operands: operands, Inputs: inputs, ISA: []string{"AMX"}})
}

// tileLoad loads 16 rows of 64 bytes, stride bytes apart.
func (g *gen) tileLoad(tmm int, from reg.Register, disp int, stride reg.Register) {
	g.tileInstruction("TILELOADD", operand.Mem{Base: from, Index: stride, Scale: 1, Disp: disp}, operand.U8(tmm))
}

// tileStore stores 16 rows of 64 bytes, stride bytes apart.
func (g *gen) tileStore(tmm int, to reg.Register, disp int, stride reg.Register) {
	g.tileInstruction("TILESTORED", operand.U8(tmm), operand.Mem{Base: to, Index: stride, Scale: 1, Disp: disp})
}

// clearTile sets a tile register to zeros.
func (g *gen) clearTile(tmm int) { g.tileInstruction("TILEZERO", operand.U8(tmm)) }

// tileProduct adds a·b to acc.
func (g *gen) tileProduct(name string, b, a, acc int) {
	g.tileInstruction(name, operand.U8(b), operand.U8(a), operand.U8(acc))
}

// beginTiles gives all tile registers 16 rows of 64 bytes.
func (g *gen) beginTiles() {
	m, ok := g.tables["tileConfig"]
	if !ok {
		m = g.StaticGlobal("tileConfig")
		g.DataAttributes(attr.RODATA | attr.NOPTR)
		var config [64]byte
		config[0] = 1 // the palette
		for i := range 8 {
			config[16+2*i], config[48+i] = rowBytes, tileRows
		}
		for _, b := range config {
			g.AppendDatum(operand.U8(b))
		}
		g.tables["tileConfig"] = m
	}
	p := g.GP64()
	g.LEAQ(m, p)
	g.tileInstruction("LDTILECFG", operand.Mem{Base: p})
}

// endTiles leaves a kernel.
func (g *gen) endTiles() {
	g.tileInstruction("TILERELEASE")
	g.end()
}

// amxFile holds the products and what packs their panels of A.
func amxFile(g *gen) {
	int8Tiles(g)
	bf16Tiles(g)
	rowsInt8(g)
	rowsBF16(g)
	peakTiles(g, "peakInt8", "TDPBSSD")
	peakTiles(g, "peakBF16", "TDPBF16PS")
	enabledStates(g)
}

// integer is a register with a number.
func (g *gen) integer(n int) reg.GPVirtual {
	r := g.GP64()
	g.MOVQ(operand.U32(n), r)
	return r
}

// tileSteps adds the products of all words of a panel of A and one of B, with more work between them.
func (g *gen) tileSteps(product string, steps, a, b reg.GPVirtual, between func()) {
	strideA, strideB := g.integer(rowBytes), g.integer(panelBytesB)
	g.loop("step", steps, 1, func() {
		g.tileLoad(4, a, 0, strideA)
		g.tileLoad(6, b, 0, strideB)
		g.tileProduct(product, 6, 4, 0)
		g.tileLoad(7, b, rowBytes, strideB)
		g.tileProduct(product, 7, 4, 1)
		g.tileLoad(5, a, tileBytes, strideA)
		g.tileProduct(product, 6, 5, 2)
		g.tileProduct(product, 7, 5, 3)
		g.ADDQ(operand.U32(2*tileBytes), a)
		g.ADDQ(operand.U32(2*tileBytes), b)
		between()
	})
}

// int8Tiles multiplies bytes. While a panel of A is multiplied the sums of the one before are scaled.
func int8Tiles(g *gen) {
	g.kernel(amx, "tilesInt8", "(panels, stepA, stepC, steps int, a, b *float32, sums *float32, c *float32, ldc int, "+
		"add bool, scaleA, scaleB *float32)",
		"c = the products of panels of 32 rows of a with a panel b of 32 columns, 16·steps words of four signed bytes deep,",
		"times scaleA[i]*scaleB[j], or that is added to c. a and scaleA of the next panel are stepA words on, c is stepC.",
		"sums has room for 32×32.")
	k := newScaledRows(g)
	g.beginTiles()
	rest := g.integer(0) // rows of the panel before whose sums are not scaled
	g.Label("panel")
	for i := range 4 {
		g.clearTile(i)
	}
	a, b, steps := g.param("a"), g.param("b"), g.param("steps")
	g.tileSteps("TDPBSSD", steps, a, b, func() {
		g.CMPQ(rest, operand.Imm(0))
		g.JEQ(operand.LabelRef("step_scaled"))
		k.scale()
		g.SUBQ(operand.Imm(uint64(k.rows)), rest)
		g.Label("step_scaled")
	})
	g.loop("late", rest, k.rows, k.scale)
	k.next()
	for i := range 4 {
		g.tileStore(i, k.sums, i/2*tileRows*panelBytesB+i%2*rowBytes, k.stride)
	}
	g.MOVQ(operand.U32(2*tileRows), rest)
	from, step, panels := g.param("a"), g.param("stepA"), g.param("panels")
	g.LEAQ(operand.Mem{Base: from, Index: step, Scale: 4}, from)
	g.Store(from, g.Param("a"))
	g.DECQ(panels)
	g.Store(panels, g.Param("panels"))
	g.JNZ(operand.LabelRef("panel"))
	g.loop("last", rest, k.rows, k.scale)
	g.endTiles()
}

// scaledRows is what brings sums of bytes into C.
type scaledRows struct {
	*gen
	rows                          int // at a time
	sums, stride, at              reg.GPVirtual
	c, ldc, ahead, scaleA, panelC reg.GPVirtual
	scaleB                        []reg.VecVirtual
	add                           reg.OpmaskVirtual
}

func newScaledRows(g *gen) *scaledRows {
	k := &scaledRows{gen: g, rows: 8, sums: g.param("sums"), stride: g.integer(panelBytesB), at: g.GP64(),
		c: g.GP64(), ldc: g.param("ldc"), ahead: g.GP64(), scaleA: g.GP64(), panelC: g.param("c"), add: g.K()}
	g.SHLQ(operand.Imm(2), k.ldc)
	b := g.param("scaleB")
	k.scaleB = g.load([]operand.Mem{g.at(b, 0), g.at(b, 1)})
	add := g.GP64()
	g.MOVBQZX(g.address(g.Param("add")), add)
	g.NEGQ(add)
	g.KMOVW(add.As32(), k.add)
	return k
}

// next begins with the panel of C whose sums are stored next.
func (k *scaledRows) next() {
	k.MOVQ(k.sums, k.at)
	k.MOVQ(k.panelC, k.c)
	scale, step := k.param("scaleA"), k.param("stepA")
	k.MOVQ(scale, k.scaleA)
	k.LEAQ(operand.Mem{Base: scale, Index: step, Scale: 4}, scale)
	k.Store(scale, k.Param("scaleA"))
	step = k.param("stepC")
	k.LEAQ(operand.Mem{Base: k.panelC, Index: step, Scale: 4}, k.panelC)
	k.MOVQ(k.panelC, k.ahead)
}

// scale scales some rows. It asks for as many rows of the next panel.
func (k *scaledRows) scale() {
	x := k.vec()
	for r := range k.rows {
		k.VBROADCASTSS(operand.Mem{Base: k.scaleA, Disp: 4 * r}, x)
		for i, b := range k.scaleB {
			v := k.vec()
			k.VCVTDQ2PS(operand.Mem{Base: k.at, Disp: r*panelBytesB + i*rowBytes}, v)
			k.VMULPS(b, v, v)
			k.VMULPS(x, v, v)
			k.VADDPS(k.gen.at(k.c, i), v, k.add, v)
			k.VMOVUPS(v, k.gen.at(k.c, i))
			k.prefetchw(operand.Mem{Base: k.ahead, Disp: i * rowBytes})
		}
		k.ADDQ(k.ldc, k.c)
		k.ADDQ(k.ldc, k.ahead)
	}
	k.ADDQ(operand.U32(k.rows*panelBytesB), k.at)
	k.ADDQ(operand.Imm(uint64(4*k.rows)), k.scaleA)
}

// bf16Tiles multiplies bfloat16. Sums begin with what c has.
func bf16Tiles(g *gen) {
	g.kernel(amx, "tilesBF16", "(panels, stepA, stepC, steps int, a, b, c *float32, ldc int, add bool)",
		"c = the products of panels of 32 rows of a with a panel b of 32 columns, 16·steps words of two bfloat16 deep,",
		"or that is added to c. a of the next panel is stepA words on, c is stepC.")
	c, ldc, half := g.param("c"), g.param("ldc"), g.GP64()
	g.SHLQ(operand.Imm(2), ldc)
	g.beginTiles()
	corner := func(i int) (reg.GPVirtual, int) { return [2]reg.GPVirtual{c, half}[i/2], i % 2 * rowBytes }
	g.Label("panel")
	g.MOVQ(ldc, half)
	g.SHLQ(operand.Imm(4), half)
	g.ADDQ(c, half)
	add := g.GP8()
	g.Load(g.Param("add"), add)
	g.TESTB(add, add)
	g.JEQ(operand.LabelRef("set"))
	for i := range 4 {
		from, disp := corner(i)
		g.tileLoad(i, from, disp, ldc)
	}
	g.JMP(operand.LabelRef("begun"))
	g.Label("set")
	for i := range 4 {
		g.clearTile(i)
	}
	g.Label("begun")
	a, b, steps := g.param("a"), g.param("b"), g.param("steps")
	g.tileSteps("TDPBF16PS", steps, a, b, func() {})
	for i := range 4 {
		to, disp := corner(i)
		g.tileStore(i, to, disp, ldc)
	}
	from, step, panels := g.param("a"), g.param("stepA"), g.param("panels")
	g.LEAQ(operand.Mem{Base: from, Index: step, Scale: 4}, from)
	g.Store(from, g.Param("a"))
	step = g.param("stepC")
	g.LEAQ(operand.Mem{Base: c, Index: step, Scale: 4}, c)
	g.DECQ(panels)
	g.Store(panels, g.Param("panels"))
	g.JNZ(operand.LabelRef("panel"))
	g.endTiles()
}

// eachRowWords writes rows of words: 16 of a row side by side, those of the next row behind them.
func (g *gen) eachRowWords(numbers int, begin func() reg.VecVirtual,
	word func(src operand.Mem, x reg.VecVirtual) reg.VecVirtual) {
	rows, width, src, ld, dst := g.param("rows"), g.param("width"), g.param("src"), g.param("ld"), g.param("dst")
	g.SHLQ(operand.Imm(6), width)
	g.SHLQ(operand.Imm(2), ld)
	to, from, words := g.GP64(), g.GP64(), g.GP64()
	g.loop("row", rows, 1, func() {
		x := begin()
		g.MOVQ(dst, to)
		g.MOVQ(src, from)
		g.Load(g.Param("words"), words)
		g.loop("words", words, g.lanes, func() {
			g.VMOVUPS(word(operand.Mem{Base: from}, x), operand.Mem{Base: to})
			g.ADDQ(width, to)
			g.ADDQ(operand.U32(numbers*g.bytes()), from)
		})
		g.ADDQ(ld, src)
		g.ADDQ(operand.Imm(rowBytes), dst)
	})
	g.end()
}

// rowsInt8 packs rows times inverse, rounded to bytes.
func rowsInt8(g *gen) {
	g.kernel(avx512, "rowsInt8", "(rows, words int, dst *float32, width int, src *float32, ld int, inverse *float32)",
		"dst[(p/16*width+i)*16+p%16] = the four bytes nearest to src[i*ld+4*p…]*inverse[i],",
		"for p < words, a multiple of 16, and i < rows.")
	order, inverse := g.vec(), g.param("inverse")
	g.VMOVDQU32(g.quarters(), order)
	g.eachRowWords(4, func() reg.VecVirtual {
		x := g.vec()
		g.VBROADCASTSS(operand.Mem{Base: inverse}, x)
		g.ADDQ(operand.Imm(4), inverse)
		return x
	}, func(src operand.Mem, x reg.VecVirtual) reg.VecVirtual {
		var q []reg.VecVirtual
		for i := range 4 {
			q = append(q, g.rounded(src.Offset(i*g.bytes()), x))
		}
		g.packBytes(q, q[0])
		g.VPERMD(q[0], order, q[0])
		return q[0]
	})
}

// rowsBF16 packs rows rounded to bfloat16.
func rowsBF16(g *gen) {
	g.kernel(avx512, "rowsBF16", "(rows, words int, dst *float32, width int, src *float32, ld int)",
		"dst[(p/16*width+i)*16+p%16] = bfloat16(src[i*ld+2*p]), bfloat16(src[i*ld+2*p+1]),",
		"for p < words, a multiple of 16, and i < rows.")
	g.eachRowWords(2, func() reg.VecVirtual { return nil }, func(src operand.Mem, _ reg.VecVirtual) reg.VecVirtual {
		x := g.load([]operand.Mem{src, src.Offset(g.bytes())})
		g.vcvtne2ps2bf16(x[0], x[1], x[0])
		return x[0]
	})
}

// quarters is the address of the order that undoes packBytes.
func (g *gen) quarters() operand.Mem {
	m := g.StaticGlobal("quarters")
	g.DataAttributes(attr.RODATA | attr.NOPTR)
	for p := range 16 {
		g.AppendDatum(operand.U32(p%4*4 + p/4))
	}
	return m
}

// peakTiles is the loop that measures the products of tiles: six sums are more than latency times units.
func peakTiles(g *gen, name, product string) {
	g.kernel(amx, name, "(n int)", "n rounds of six products of tiles that do not wait for each other.")
	n := g.param("n")
	g.beginTiles()
	for i := range 8 {
		g.clearTile(i)
	}
	g.loop("round", n, 1, func() {
		for i := range 6 {
			g.tileProduct(product, 7, 6, i)
		}
	})
	g.endTiles()
}

// enabledStates asks which registers the system saves.
func enabledStates(g *gen) {
	g.kernel(isa{lanes: 16}, "enabledStates", "() uint32", "the lower half of the extended control register XCR0.")
	g.XORL(reg.ECX, reg.ECX)
	g.XGETBV()
	g.Store(reg.EAX, g.ReturnIndex(0))
	g.RET()
}

var tileLine = regexp.MustCompile(`(?m)^\t(T\w+|LDTILECFG)(?: +(\S.*))?$`)

var (
	tileMemory   = regexp.MustCompile(`^(\d*)\((\w+)\)(?:\((\w+)\*1\))?$`)
	anyRegisters = []string{"AX", "CX", "DX", "BX", "SP", "BP", "SI", "DI", "R8", "R9", "R10", "R11", "R12", "R13",
		"R14", "R15"}
)

// writeTiles turns the lines of instructions on tile registers, which Go's assembler lacks, into bytes, with what they
// are beside them.
func writeTiles(text []byte) []byte {
	return tileLine.ReplaceAllFunc(text, func(line []byte) []byte {
		m := tileLine.FindStringSubmatch(string(line))
		if strings.HasPrefix(m[1], "TEST") || strings.HasPrefix(m[1], "TEXT") || strings.HasPrefix(m[1], "TZCNT") {
			return line
		}
		var operands []string
		if m[2] != "" {
			operands = strings.Split(m[2], ", ")
		}
		for i, o := range operands {
			if strings.HasPrefix(o, "$0x") {
				n, err := strconv.ParseUint(o[3:], 16, 3)
				if err != nil {
					panic("tile register " + o)
				}
				operands[i] = fmt.Sprint("T", n)
			}
		}
		var out []string
		for _, b := range encodeTile(m[1], operands) {
			out = append(out, fmt.Sprintf("BYTE $0x%02x", b))
		}
		return fmt.Appendf(nil, "\t%s // %s", strings.Join(out, "; "),
			strings.TrimSpace(m[1]+" "+strings.Join(operands, ", ")))
	})
}

// encodeTile is the bytes of an instruction. As Go's assembler does, the destination is named last.
func encodeTile(name string, operands []string) []byte {
	tmm := func(i int) byte { return operands[i][1] - '0' }
	if c, ok := tileProducts[name]; ok {
		return c.encode(tmm(0), 0xc0|tmm(2)<<3|tmm(1), 0, 0)
	}
	switch name {
	case "TILELOADD":
		return tileMoves[name].encodeMemory(tmm(1), operands[0])
	case "TILESTORED":
		return tileMoves[name].encodeMemory(tmm(0), operands[1])
	case "LDTILECFG":
		return tileConfig.encodeMemory(0, operands[0])
	case "TILERELEASE":
		return tileConfig.encode(0, 0xc0, 0, 0)
	case "TILEZERO":
		return tileZero.encode(0, 0xc0|tmm(0)<<3, 0, 0)
	}
	panic("instruction " + name)
}

// encode is the prefix, the opcode and the byte that names operands. The prefix has a register more, and the fourth
// bits of the registers of an address, all inverted.
func (c vexCode) encode(more, operands, base, index byte) []byte {
	const map0F38 = 2
	registers := 1<<7 | (^index>>3&1)<<6 | (^base>>3&1)<<5
	return []byte{0xc4, registers | map0F38, (^more&15)<<3 | c.prefix, c.opcode, operands}
}

// encodeMemory is the bytes of an instruction on a tile register and memory.
func (c vexCode) encodeMemory(tmm byte, address string) []byte {
	m := tileMemory.FindStringSubmatch(address)
	if m == nil {
		panic("address " + address)
	}
	number := func(name string) byte {
		for i, r := range anyRegisters {
			if r == name {
				return byte(i)
			}
		}
		panic("register " + name)
	}
	disp, err := strconv.Atoi("0" + m[1])
	if err != nil || disp >= 1<<31 {
		panic("address " + address)
	}
	const disp32, sib, noIndex = 2 << 6, 4, 4
	bytes := []byte{byte(disp), byte(disp >> 8), byte(disp >> 16), byte(disp >> 24)}
	base := number(m[2])
	if m[3] == "" && base&7 != sib {
		return append(c.encode(0, disp32|tmm<<3|base&7, base, 0), bytes...)
	}
	index := byte(noIndex)
	if m[3] != "" {
		index = number(m[3])
	}
	return append(append(c.encode(0, disp32|tmm<<3|sib, base, index), index&7<<3|base&7), bytes...)
}
