package merge

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/testdata"
)

// TestReferencesMerge merges LoRAs of PEFT into Hugging Face directories of many classes and compares logits with what
// PEFT's own merge gave in float64.
func TestReferencesMerge(t *testing.T) {
	root := testdata.Shared(t, "hf")
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name() == "scripts" || !entry.IsDir() {
			continue
		}
		t.Run(entry.Name(), func(t *testing.T) {
			dir := filepath.Join(root, entry.Name())
			b := pefttest.OpenBase(t, dir)
			a, err := attach.Load(filepath.Join(dir, "adapter"))
			if err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(t.TempDir(), "merged")
			_, err = run(context.Background(), b, []attach.Scaled{{Adapter: a, Scale: 1}}, out, Options{})
			if err != nil {
				t.Fatal(err)
			}
			data := pefttest.OpenTensors(t, filepath.Join(dir, "data.safetensors"))
			got := pefttest.AllLogits(pefttest.OpenBase(t, out), model.NoHooks{},
				pefttest.PackedIDs(t, data.Tensor("input_ids"), 0))
			want := pefttest.Float64s(t, data, "logits64.merged")
			rounded := make([]float32, len(want))
			for i, w := range want {
				rounded[i] = float32(w)
			}
			if off := pefttest.Relative(got, rounded); !(off <= 1e-5) {
				t.Errorf("the logits are off by %.2g", off)
			}
		})
	}
}
