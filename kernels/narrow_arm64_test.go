//go:build !purego

package kernels

import (
	"os"
	"testing"
)

// TestMissingFeatures: a processor may have instructions for matrices of bytes, or those for bfloat16, without the
// others.
func TestMissingFeatures(t *testing.T) {
	if bestTier() < tierMatMul {
		t.Skip("this processor has neither")
	}
	was, tierWas := processor, current
	if os.Getenv("PEFTCONV_TEST_TIER") == tierMatMul.String() && !(was.i8mm && was.bf16) {
		t.Fatalf("PEFTCONV_TEST_TIER demands all instructions, and there are %+v", was)
	}
	t.Cleanup(func() { processor, current = was, tierWas })
	current = tierMatMul
	for _, only := range []struct {
		name       string
		i8mm, bf16 bool
	}{{"SMMLA", true, false}, {"BFMMLA", false, true}} {
		t.Run(only.name, func(t *testing.T) {
			processor.i8mm, processor.bf16 = only.i8mm && was.i8mm, only.bf16 && was.bf16
			if hasI8MM() != processor.i8mm || HasBF16() != processor.bf16 || !HasInt8() {
				t.Fatalf("with %v there are i8mm %v, bf16 %v, int8 %v", processor, hasI8MM(), HasBF16(), HasInt8())
			}
			for rows := 4; rows <= 12; rows += 4 {
				checkNarrowTiles(t, rows, 70, panelLanes, true)
			}
		})
	}
}
