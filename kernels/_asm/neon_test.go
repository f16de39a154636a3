package main

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/arch/arm64/arm64asm"
)

// TestWordsAreWhatTheySay decodes every instruction that is written as a word and compares it with the text
// beside it.
func TestWordsAreWhatTheySay(t *testing.T) {
	pattern := regexp.MustCompile(`WORD \$0x([0-9a-f]{8}) // (.*)`)
	for name, generate := range arm64Files {
		words := pattern.FindAllStringSubmatch(string(arm64Source(generate)), -1)
		if len(words) == 0 {
			t.Errorf("%s has no words", name)
		}
		for _, w := range words {
			encoding, _ := strconv.ParseUint(w[1], 16, 32)
			got, err := decodeNEON(uint32(encoding))
			if err != nil {
				t.Errorf("%s: %s: %s: %v", name, w[1], w[2], err)
			} else if got != strings.ToUpper(w[2]) {
				t.Errorf("%s: %s is %s, not %s", name, w[1], got, w[2])
			}
		}
	}
}

// decodeNEON is the text of an instruction, in capitals.
func decodeNEON(encoding uint32) (string, error) {
	for _, e := range extensions {
		if encoding&e.mask == e.bits {
			return e.text(int(encoding&31), int(encoding>>5&31), int(encoding>>16&31), int(encoding>>21&1|encoding>>10&2)), nil
		}
	}
	inst, err := arm64asm.Decode(binary.LittleEndian.AppendUint32(nil, encoding))
	return strings.ToUpper(inst.String()), err
}

// extensions are the instructions of FEAT_DotProd, FEAT_I8MM and FEAT_BF16, which package arm64asm does not know: the
// bits that make them what they are, and their text by the registers and the index of an element.
var extensions = []struct {
	mask, bits uint32
	text       func(d, n, m, i int) string
}{
	{0xffc0f400, 0x4f80e000, func(d, n, m, i int) string {
		return fmt.Sprintf("SDOT V%d.4S, V%d.16B, V%d.4B[%d]", d, n, m, i)
	}},
	{0xffe0fc00, 0x4e809400, func(d, n, m, _ int) string {
		return fmt.Sprintf("SDOT V%d.4S, V%d.16B, V%d.16B", d, n, m)
	}},
	{0xffe0fc00, 0x4e80a400, func(d, n, m, _ int) string {
		return fmt.Sprintf("SMMLA V%d.4S, V%d.16B, V%d.16B", d, n, m)
	}},
	{0xffe0fc00, 0x6e40ec00, func(d, n, m, _ int) string {
		return fmt.Sprintf("BFMMLA V%d.4S, V%d.8H, V%d.8H", d, n, m)
	}},
	{0xfffffc00, 0x0ea16800, func(d, n, _, _ int) string { return fmt.Sprintf("BFCVTN V%d.4H, V%d.4S", d, n) }},
	{0xfffffc00, 0x4ea16800, func(d, n, _, _ int) string { return fmt.Sprintf("BFCVTN2 V%d.8H, V%d.4S", d, n) }},
}

// TestExtensions: the decoder of this test says of an encoding what llvm-mc 19 --disassemble says.
func TestExtensions(t *testing.T) {
	for encoding, want := range map[uint32]string{
		0x4f8ce100: "SDOT V0.4S, V8.16B, V12.4B[0]",
		0x4fbfebdd: "SDOT V29.4S, V30.16B, V31.4B[3]",
		0x4fa3e841: "SDOT V1.4S, V2.16B, V3.4B[3]",
		0x4e8397c1: "SDOT V1.4S, V30.16B, V3.16B",
		0x4e9fa7dd: "SMMLA V29.4S, V30.16B, V31.16B",
		0x6e43ec41: "BFMMLA V1.4S, V2.8H, V3.8H",
		0x0ea16841: "BFCVTN V1.4H, V2.4S",
		0x4ea16bfe: "BFCVTN2 V30.8H, V31.4S",
	} {
		if got, err := decodeNEON(encoding); got != want || err != nil {
			t.Errorf("%#08x is %s, %v, not %s", encoding, got, err, want)
		}
	}
}
