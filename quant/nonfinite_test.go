package quant

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
)

// TestNonFiniteGolden compares the blocks of NaN, infinite and very large weights with the reference's, byte for byte.
// Such blocks are of no use, but a file that has one is the same file.
func TestNonFiniteGolden(t *testing.T) {
	g := &golden{Cols: 256, dir: filepath.Join("testdata", "nonfinite")}
	g.input = floats(g.file(t, "input.f32"))
	files, err := os.ReadDir(g.dir)
	if err != nil {
		t.Fatal(err)
	}
	types := map[gguf.Type][]byte{}
	for _, file := range files {
		if name, ok := strings.CutSuffix(file.Name(), ".bin"); ok {
			typ, err := gguf.ParseType(strings.ToUpper(name))
			if err != nil {
				t.Fatal(err)
			}
			types[typ] = g.file(t, file.Name())
		}
	}
	if len(types) != 10 {
		t.Errorf("%d types, expected 10", len(types))
	}
	eachTier(t, func(t *testing.T) {
		for typ, want := range types {
			t.Run(typ.String(), func(t *testing.T) { g.checkQuantize(t, typ, want, nil) })
		}
	})
}
