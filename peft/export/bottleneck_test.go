package export

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

// TestWiderModel: a model with parallel adapters in its networks computes what the base does with the adapters, and has
// the base's blocks byte for byte.
func TestWiderModel(t *testing.T) {
	inTypes := pefttest.Tiny
	inTypes.Ffn = 64
	inTypes.TypeOf = func(name string) gguf.Type {
		if strings.HasPrefix(name, "blk.0.") {
			return gguf.Q8_0
		}
		return gguf.F16
	}
	for name, c := range map[string]struct {
		base  pefttest.TinyModel
		opt   method.Bottleneck
		close float64
	}{
		"float32":         {pefttest.Tiny, method.Bottleneck{Bottleneck: 6, Scale: 0.5}, 1e-5},
		"one layer":       {pefttest.Tiny, method.Bottleneck{Bottleneck: 6, Layers: "1"}, 1e-5},
		"gated":           {pefttest.Tiny, method.Bottleneck{Bottleneck: 8, Activation: method.ActivationSwiGLU}, 1e-5},
		"quantized":       {inTypes, method.Bottleneck{Bottleneck: 6}, 5e-3},
		"quantized gated": {inTypes, method.Bottleneck{Bottleneck: 40, Activation: method.ActivationSwiGLU}, 5e-3},
	} {
		t.Run(name, func(t *testing.T) {
			b := pefttest.OpenBase(t, c.base.WriteGGUF(t))
			a, err := methods.NewBottleneck(b, c.opt)
			if err != nil {
				t.Fatal(err)
			}
			pefttest.Stir(a, 4)
			path := filepath.Join(t.TempDir(), "wide.gguf")
			report, err := Model(pefttest.Adapter(a), pefttest.Base(b), path)
			if err != nil {
				t.Fatal(err)
			}
			if rounded := report.Note != ""; rounded != (c.close > 1e-4) {
				t.Errorf("the report is %+v", report)
			}
			wide := pefttest.OpenBase(t, path)
			seq := pefttest.Packed(pefttest.TinyData(3, 8))
			got, want := pefttest.AllLogits(wide, model.NoHooks{}, seq), pefttest.AllLogits(b, pefttest.BindOne(t, a, b), seq)
			if err := pefttest.Relative(got, want); err > c.close {
				t.Errorf("logits are %.2g off", err)
			}
			if effect := pefttest.Relative(pefttest.AllLogits(b, model.NoHooks{}, seq), want); effect < 10*c.close {
				t.Errorf("the adapter changes the logits by %.2g only", effect)
			}
			checkOldBlocks(t, b, wide)
		})
	}
}

// checkOldBlocks wants every row of the base at the start of its row in the wider model.
func checkOldBlocks(t *testing.T, b, wide *attach.Base) {
	t.Helper()
	for _, old := range b.GGUF.Tensors {
		made := wide.GGUF.Tensor(old.Name)
		if made == nil || made.Type != old.Type {
			t.Fatalf("%s became %+v", old.Name, made)
		}
		oldSize, newSize := len(old.Bytes())/int(old.Rows()), len(made.Bytes())/int(made.Rows())
		for r := range int(old.Rows()) {
			if string(old.Bytes()[r*oldSize:(r+1)*oldSize]) != string(made.Bytes()[r*newSize:r*newSize+oldSize]) {
				t.Fatalf("row %d of %s changed", r, old.Name)
			}
		}
	}
}

// TestModelOfItsOwnLayers looks at the layers that serial-pfeiffer adapters become; llama.cpp computes them in the
// integration tests.
func TestModelOfItsOwnLayers(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a, err := methods.NewBottleneck(b,
		method.Bottleneck{Placement: method.SerialPfeiffer, Bottleneck: 5, Parts: []string{"attention", "ffn"}, Layers: "1"})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "deci.gguf")
	if _, err := Model(pefttest.Adapter(a), pefttest.Base(b), path); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for key, want := range map[string][]int64{
		"deci.feed_forward_length": {48, 5, 48, 5}, "deci.attention.head_count": {4, 4, 0, 0},
		"deci.attention.head_count_kv": {2, 2, 0, 0},
	} {
		got, _ := f.Meta.Ints(key)
		for i := range want {
			if len(got) != len(want) || got[i] != want[i] {
				t.Errorf("%s is %v, expected %v", key, got, want)
				break
			}
		}
	}
	if arch, _ := f.Meta.String("general.architecture"); arch != "deci" {
		t.Errorf("the architecture is %q", arch)
	}
	for name, there := range map[string]bool{
		"blk.0.ffn_up.bias": false, "blk.1.attn_q.weight": true, "blk.1.ffn_up.bias": true, "blk.2.attn_q.weight": false,
		"blk.2.ffn_norm.weight": true, "blk.2.ffn_up.bias": false, "blk.3.ffn_down.bias": true, "output.weight": true,
	} {
		if (f.Tensor(name) != nil) != there {
			t.Errorf("tensor %s is there: %v", name, !there)
		}
	}
}

// TestExportModelRefused: each adapter that llama.cpp cannot run is refused with the reason.
func TestExportModelRefused(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	for want, opt := range map[string]method.Bottleneck{
		"serial-houlsby":                         {Placement: method.SerialHoulsby},
		"reads the stream as it is":              {Input: method.InputStream},
		"an adapter with gelu":                   {Activation: "gelu"},
		"llama.cpp has no network beside attent": {Parts: []string{"attention"}},
	} {
		a, err := methods.NewBottleneck(b, opt)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if _, err := Model(pefttest.Adapter(a), pefttest.Base(b), filepath.Join(dir, "x.gguf")); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected %q", err, want)
		}
		pefttest.CheckEmpty(t, dir)
	}
}
