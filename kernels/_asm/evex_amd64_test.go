package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestBytesAreWhatTheySay decodes every instruction that is written as bytes and compares it with the text beside it.
func TestBytesAreWhatTheySay(t *testing.T) {
	pattern := regexp.MustCompile(`(?m)^\t(BYTE .*) // (.*)$`)
	found := map[string]int{}
	for name, generate := range amd64Files {
		text, err := amd64Source(generate)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range pattern.FindAllStringSubmatch(string(text), -1) {
			var code []byte
			for _, b := range strings.Split(m[1], ";") {
				n, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(b), "BYTE $0x"), 16, 8)
				if err != nil {
					t.Fatalf("%s: %s: %v", name, m[0], err)
				}
				code = append(code, byte(n))
			}
			if got := decode(code); got != m[2] {
				t.Errorf("%s: % x is %s, not %s", name, code, got, m[2])
			}
			found[strings.Fields(m[2])[0]]++
		}
	}
	others := []string{"PREFETCHW", "LDTILECFG", "TILERELEASE", "TILEZERO", "TILELOADD", "TILESTORED", "TDPBSSD",
		"TDPBF16PS"}
	for _, name := range append(slices.Collect(maps.Keys(evexCodes)), others...) {
		if found[name] == 0 {
			t.Errorf("%s is not there", name)
		}
	}
}

// decode is the text of an instruction.
func decode(b []byte) string {
	if len(b) == 5 && b[0]&^1 == 0x40 && b[1] == 0x0f && b[2] == 0x0d && b[3]&0xf8 == 0x48 && b[4] < 128 {
		names := []string{"AX", "CX", "DX", "BX", "", "BP", "SI", "DI", "R8", "R9", "R10", "R11", "", "R13", "R14", "R15"}
		return fmt.Sprintf("PREFETCHW %d(%s)", b[4], names[b[0]&1<<3|b[3]&7])
	}
	if b[0] == 0xc4 {
		return decodeTile(b)
	}
	return decodeEVEX(b)
}

// decodeEVEX is the text of an instruction on three ZMM registers, in the order of Go's assembler. It is written from
// the table of the bits of the prefix and knows nothing of the encoder.
func decodeEVEX(b []byte) string {
	if len(b) != 6 || b[0] != 0x62 {
		return "not an EVEX instruction on registers"
	}
	bit := func(i, n int) int { return int(b[i]>>n) & 1 }
	inverted := func(i, n int) int { return 1 - bit(i, n) }
	fixed := []bool{
		b[1]&0x0f == 2,    // reserved bit and opcode map 0F38
		bit(2, 7) == 0,    // W
		bit(2, 2) == 1,    // always
		b[3]&0xf7 == 0x40, // no zeroing, 512 bits, no broadcast, no mask
		b[5]>>6 == 3,      // register operand
		b[4] == 0x52 || b[4] == 0x72,
	}
	for i, ok := range fixed {
		if !ok {
			return fmt.Sprint("wrong in field ", i)
		}
	}
	names := map[[2]byte]string{{2, 0x52}: "VDPBF16PS", {3, 0x72}: "VCVTNE2PS2BF16"}
	dst := inverted(1, 4)<<4 | inverted(1, 7)<<3 | int(b[5]>>3&7)
	src2 := inverted(1, 6)<<4 | inverted(1, 5)<<3 | int(b[5]&7)
	src1 := inverted(3, 3)<<4 | int(^b[2]>>3&15)
	return fmt.Sprintf("%s Z%d, Z%d, Z%d", names[[2]byte{b[2] & 3, b[4]}], src2, src1, dst)
}
