package tokenizer

import (
	"os"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/tokenizer/pattern"
)

// TestLinear cuts long lines of one class of characters and counts the steps: eight times the length takes eight times
// as many, where a quadratic search would take 64 times.
func TestLinear(t *testing.T) {
	short, long := 1<<13, 1<<16
	if os.Getenv("PEFTCONV_LONG") != "" {
		short, long = 1<<17, 1<<20
	}
	for names, pre := range families {
		cut, err := newStageCutter(pre.stages)
		if err != nil {
			t.Fatal(err)
		}
		for _, of := range []string{"a", "1", " ", "\n", ".", "漢", "\u0301", "a b", " \n", "'", "A", "１"} {
			var steps [2]int
			for i, n := range []int{short, long} {
				var scratch pattern.Scratch
				cut.cut(strings.Repeat(of, n/len(of)), atStart, &scratch, func(string) {})
				steps[i] = scratch.Steps()
			}
			if steps[1] > 9*steps[0] || steps[1] > 80*long {
				t.Errorf("%s: %d bytes of %q take %d steps, %d bytes %d", names, short, of, steps[0], long, steps[1])
			}
		}
	}
}
