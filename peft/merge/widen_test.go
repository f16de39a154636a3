package merge

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

// TestMergeInF32: a base in BF16 with trained norms gives, in F32, vectors and a configuration in F32; in its own type
// the norms are rounded, and the merge does not say that it is bit-exact.
func TestMergeInF32(t *testing.T) {
	dir := pefttest.Tiny.WriteHF(t, gguf.BF16, 2)
	config := filepath.Join(dir, "config.json")
	text := strings.Replace(string(pefttest.FileBytes(t, config)), "{", `{"torch_dtype": "bfloat16", `, 1)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	b := pefttest.OpenBase(t, dir)
	a, err := methods.NewLoRA(b, method.LoRA{Rank: 2, Norms: true, Targets: []string{"q_proj"}})
	if err != nil {
		t.Fatal(err)
	}
	pefttest.Stir(a, 3)
	for typ, exact := range map[string]bool{"f32": true, "": false} {
		out := filepath.Join(t.TempDir(), "merged")
		report, err := run(t.Context(), b, []attach.Scaled{{Adapter: a, Scale: 1}}, out, Options{Type: typ})
		if err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(report.Tensors, func(x Tensor) bool { return strings.Contains(x.Name, "norm") }); i < 0 ||
			report.Tensors[i].BitExact != exact || report.BitExact && !exact {
			t.Errorf("type %q: the report says bit-exact %v, of norms %+v", typ, report.BitExact, report.Tensors[i])
		}
		var fields map[string]any
		if err := json.Unmarshal(pefttest.FileBytes(t, filepath.Join(out, "config.json")), &fields); err != nil {
			t.Fatal(err)
		}
		want := map[bool]string{true: "float32", false: "bfloat16"}[exact]
		if fields["torch_dtype"] != want {
			t.Errorf("type %q: torch_dtype is %v, expected %s", typ, fields["torch_dtype"], want)
		}
		merged := pefttest.OpenBase(t, out)
		for x := range merged.Store.Tensors() {
			if len(x.Shape) == 1 && (x.TypeName == "F32") != exact {
				t.Errorf("type %q: %s is %s", typ, x.Name, x.TypeName)
			}
		}
	}
}
