package main

import (
	"encoding/binary"
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
			code := binary.LittleEndian.AppendUint32(nil, uint32(encoding))
			inst, err := arm64asm.Decode(code)
			if err != nil {
				t.Errorf("%s: %s: %s: %v", name, w[1], w[2], err)
				continue
			}
			if got := strings.ToUpper(inst.String()); got != strings.ToUpper(w[2]) {
				t.Errorf("%s: %s is %s, not %s", name, w[1], got, w[2])
			}
		}
	}
}
