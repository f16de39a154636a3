package export

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/lorafile"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
)

// TestReadBack: an adapter that is exported and read again gives the same logits, on every architecture, and the file
// that is exported of it again is the same.
func TestReadBack(t *testing.T) {
	packed := &batch.Batch{}
	packed.Append(archtest.IDs(12), nil)
	for _, m := range archtest.All() {
		t.Run(m.Name, func(t *testing.T) {
			b := pefttest.OpenModel(t, &m)
			without := pefttest.AllLogits(b, model.NoHooks{}, packed)
			for name, opt := range llamaLoRAs {
				if testing.Short() && name != "ranks" {
					continue
				}
				a := pefttest.Trained(t, b, opt(b))
				path := filepath.Join(t.TempDir(), "lora.gguf")
				if err := GGUF(pefttest.Adapter(a), pefttest.Base(b), path); err != nil {
					t.Fatal(err)
				}
				read, err := lorafile.Load(path, b)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				want := pefttest.AllLogits(b, pefttest.BindOne(t, a, b), packed)
				got := pefttest.AllLogits(b, pefttest.BindOne(t, read, b), packed)
				if off, moved := pefttest.Relative(got, want), pefttest.Relative(without, want); off > 1e-5*moved {
					t.Errorf("%s: logits differ by %.2g where the adapter moves them by %.2g", name, off, moved)
				}
				again := filepath.Join(t.TempDir(), "again.gguf")
				if err := GGUF(pefttest.Adapter(read), pefttest.Base(b), again); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				same := bytes.Equal(pefttest.FileBytes(t, path), pefttest.FileBytes(t, again))
				if !same && b.Model.Arch.Tensor(arch.ExpertScale) == nil { // a factor in B is not divided out to the bit
					t.Errorf("%s: the file that is exported again differs", name)
				}
			}
		})
	}
}
