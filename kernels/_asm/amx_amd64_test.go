package main

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// decodeTile is the text of an instruction on tile registers, in the order of Go's assembler. It is written from the
// tables of the manual and knows nothing of the encoder.
func decodeTile(b []byte) string {
	if len(b) < 5 {
		return "too short"
	}
	names := map[[2]byte]string{{0, 0x49}: "LDTILECFG", {3, 0x49}: "TILEZERO", {3, 0x4b}: "TILELOADD",
		{2, 0x4b}: "TILESTORED", {3, 0x5e}: "TDPBSSD", {2, 0x5c}: "TDPBF16PS"}
	name, ok := names[[2]byte{b[2] & 3, b[3]}]
	register, more, onRegisters := int(b[4]>>3&7), int(^b[2]>>3&15), b[4]>>6 == 3
	switch {
	case !ok || b[1]&0x9f != 0x82 || b[2]&0x84 != 0: // no fourth bit of a tile, map 0F38; W 0, 128 bits
		return "not an instruction on tile registers"
	case strings.HasPrefix(name, "TDP"):
		if !onRegisters || b[1] != 0xe2 || more > 7 || len(b) != 5 {
			return "not a product of tile registers"
		}
		return fmt.Sprintf("%s T%d, T%d, T%d", name, more, b[4]&7, register)
	case more != 0:
		return "a register too many"
	case onRegisters && b[4] == 0xc0 && name == "LDTILECFG":
		return "TILERELEASE"
	case onRegisters && b[4]&7 == 0 && name == "TILEZERO":
		return fmt.Sprintf("TILEZERO T%d", register)
	case onRegisters || b[4]>>6 != 2 || b[4]&7 == 4 && (len(b) != 10 || b[5]>>6 != 0) || b[4]&7 != 4 && len(b) != 9:
		return "not an address of a base, an index once and 32 bits"
	}
	high := int(^b[1] >> 5 & 1)
	registers := []string{"AX", "CX", "DX", "BX", "SP", "BP", "SI", "DI", "R8", "R9", "R10", "R11", "R12", "R13", "R14",
		"R15"}
	base, index, b := int(b[4]&7), 4, b[1:]
	if base == 4 {
		base, index, b = int(b[4]&7), int(b[4]>>3&7)+8*int(^b[0]>>6&1), b[1:]
	}
	base += 8 * high
	address := "(" + registers[base] + ")"
	if disp := int(b[4]) | int(b[5])<<8 | int(b[6])<<16 | int(b[7])<<24; disp != 0 {
		address = fmt.Sprint(disp, address)
	}
	if index != 4 {
		address += "(" + registers[index] + "*1)"
	}
	switch name {
	case "LDTILECFG":
		return name + " " + address
	case "TILELOADD":
		return fmt.Sprintf("%s %s, T%d", name, address, register)
	}
	return fmt.Sprintf("%s T%d, %s", name, register, address)
}

// TestTileEncodings: the encoder and the decoder of this test say of an encoding what llvm-mc --disassemble says.
func TestTileEncodings(t *testing.T) {
	for _, c := range []struct{ bytes, want string }{
		{"c4 c2 78 49 82 00 00 00 00", "LDTILECFG (R10)"},
		{"c4 e2 78 49 c0", "TILERELEASE"},
		{"c4 e2 7b 49 d8", "TILEZERO T3"},
		{"c4 82 7b 4b bc 3c 40 00 00 00", "TILELOADD 64(R12)(R15*1), T7"},
		{"c4 e2 7a 4b 94 08 00 08 00 00", "TILESTORED T2, 2048(AX)(CX*1)"},
		{"c4 e2 43 5e dd", "TDPBSSD T7, T5, T3"},
		{"c4 e2 4a 5c c4", "TDPBF16PS T6, T4, T0"},
	} {
		var code []byte
		for _, b := range strings.Fields(c.bytes) {
			var n byte
			if _, err := fmt.Sscanf(b, "%02x", &n); err != nil {
				t.Fatal(err)
			}
			code = append(code, n)
		}
		if got := decodeTile(code); got != c.want {
			t.Errorf("%s is %q, expected %q", c.bytes, got, c.want)
		}
		fields := strings.SplitN(c.want, " ", 2)
		var operands []string
		if len(fields) > 1 {
			operands = strings.Split(fields[1], ", ")
		}
		if got := fmt.Sprintf("% x", encodeTile(fields[0], operands)); got != c.bytes {
			t.Errorf("%s is encoded as %s, expected %s", c.want, got, c.bytes)
		}
	}
}

// TestTileEncodingsByLLVM asks llvm-mc of every instruction on tile registers that is written as bytes.
func TestTileEncodingsByLLVM(t *testing.T) {
	mc, err := exec.LookPath("llvm-mc")
	if err != nil {
		t.Skip("llvm-mc is not installed: encodings are checked by the decoder of this test alone")
	}
	text, err := amd64Source(amxFile)
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\t(BYTE \$0xc4;.*) // (.*)$`).FindAllStringSubmatch(string(text), -1) {
		lines[m[2]] = strings.NewReplacer("BYTE $", "", ";", "").Replace(m[1])
	}
	for want, code := range lines {
		c := exec.Command(mc, "--disassemble", "--triple=x86_64", "--mattr=+amx-tile,+amx-int8,+amx-bf16")
		c.Stdin = strings.NewReader(code)
		out, err := c.CombinedOutput()
		got := strings.Fields(strings.TrimPrefix(strings.TrimSpace(string(out)), ".text"))
		if err != nil || strings.Join(got, " ") != llvmText(want) {
			t.Errorf("%s is %v (%v), expected %s", code, got, err, llvmText(want))
		}
	}
}

var (
	tileName = regexp.MustCompile(`\bT(\d)\b`)
	number   = regexp.MustCompile(`\((R?\w+)\)(?:\((R?\w+)\*1\))?`)
)

// llvmText is an instruction as llvm-mc writes it.
func llvmText(text string) string {
	name, operands, _ := strings.Cut(text, " ")
	operands = tileName.ReplaceAllString(operands, "%tmm$1")
	operands = number.ReplaceAllStringFunc(operands, func(address string) string {
		m := number.FindStringSubmatch(address)
		register := func(name string) string {
			if strings.HasPrefix(name, "R") {
				return "%" + strings.ToLower(name)
			}
			return "%r" + strings.ToLower(name)
		}
		if m[2] == "" {
			return "(" + register(m[1]) + ")"
		}
		return "(" + register(m[1]) + "," + register(m[2]) + ")"
	})
	return strings.TrimSpace(strings.ToLower(name) + " " + operands)
}
