package convert

import (
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/internal/converttest"
)

// TestGolden compares what becomes of each directory with the file that the reference converter made of it.
func TestGolden(t *testing.T) {
	for _, dir := range converttest.Models(t) {
		for typ, form := range converttest.Forms(t, dir) {
			if testing.Short() && typ != "bf16" {
				continue
			}
			t.Run(filepath.Base(dir)+"/"+typ, func(t *testing.T) {
				t.Parallel()
				form.File(t, convertTo(t, dir, Options{Type: typ, PreTokenizer: converttest.PreTokenizer(t, dir)}))
			})
		}
	}
}
