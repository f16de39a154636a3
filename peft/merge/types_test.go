package merge

import (
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/quantize"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

// TestMixture merges into the types that quantize gives: those of its file of the base, and for tensors without a
// change its bytes too.
func TestMixture(t *testing.T) {
	tiny := pefttest.TinyModel{Width: 256, Heads: 4, KeyHeads: 2, Ffn: 288, Layers: 2} // rows of 288 need other types
	for _, typ := range []string{"Q4_K_M", "Q3_K_S", "Q8_0"} {
		path := tiny.WriteGGUF(t)
		b := pefttest.OpenBase(t, path)
		a := pefttest.Trained(t, b, method.LoRA{Rank: 2, Targets: []string{"attention"}})
		out, report := mergeTo(t, b, Options{Type: typ}, attach.Scaled{Adapter: a, Scale: 1})
		ft, err := quantize.ParseFileType(typ)
		if err != nil {
			t.Fatal(err)
		}
		base, err := gguf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer base.Close()
		plan, err := quantize.NewPlan(base, quantize.Options{Type: ft, AllowRequantize: true})
		if err != nil {
			t.Fatal(err)
		}
		want := filepath.Join(t.TempDir(), "want.gguf")
		if err := plan.Write(t.Context(), want, nil); err != nil {
			t.Fatal(err)
		}
		quantized, err := gguf.Open(want)
		if err != nil {
			t.Fatal(err)
		}
		defer quantized.Close()
		merged := pefttest.OpenBase(t, out).GGUF
		touched := map[string]bool{}
		for _, tensor := range report.Tensors {
			touched[tensor.Name] = true
		}
		for _, x := range merged.Tensors {
			y := quantized.Tensor(x.Name)
			own := typ == "Q8_0" && !touched[x.Name]
			if own {
				y = base.Tensor(x.Name)
			}
			if x.Type != y.Type || !touched[x.Name] && string(x.Bytes()) != string(y.Bytes()) {
				t.Errorf("%s: tensor %q is %v, expected %v of the same bytes", typ, x.Name, x.Type, y.Type)
			}
		}
	}
}
