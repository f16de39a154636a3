package merge

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

// TestArchitecturesMerge merges adapters of weights, scales, norms and biases into models of every architecture: logits
// are those of base and adapter.
func TestArchitecturesMerge(t *testing.T) {
	everywhere := method.Placement{Targets: []string{"all-linear"}}
	kinds := map[string]func(b *attach.Base) (*attach.Adapter, error){
		"lora":      func(b *attach.Base) (*attach.Adapter, error) { return methods.NewLoRA(b, method.LoRA{Rank: 2}) },
		"ln-tuning": func(b *attach.Base) (*attach.Adapter, error) { return methods.NewLNTuning(b, method.LNTuning{}) },
		"bitfit":    func(b *attach.Base) (*attach.Adapter, error) { return methods.NewBitFit(b, method.BitFit{}) },
		"ia3": func(b *attach.Base) (*attach.Adapter, error) {
			return methods.NewIA3(b, method.IA3{Placement: everywhere, FeedForward: []string{"ffn_down", "ffn_down_exps"}})
		},
	}
	seq := pefttest.Packed(pefttest.TinyData(4, 1))
	for _, m := range archtest.All() {
		b := pefttest.OpenModel(t, &m)
		base := pefttest.AllLogits(b, model.NoHooks{}, seq)
		for kind, make := range kinds {
			t.Run(m.Name+" "+kind, func(t *testing.T) {
				a, err := make(b)
				if err != nil && (strings.Contains(err.Error(), "no linear map has a bias") ||
					strings.Contains(err.Error(), "norms have no weights")) {
					t.Skip(err)
				}
				if err != nil {
					t.Fatal(err)
				}
				pefttest.Stir(a, 5)
				want := pefttest.AllLogits(b, pefttest.BindOne(t, a, b), seq)
				if pefttest.Relative(want, base) < 1e-3 {
					t.Fatal("the adapter changes next to nothing")
				}
				out, _ := mergeTo(t, b, Options{}, attach.Scaled{Adapter: a, Scale: 1})
				got := pefttest.AllLogits(pefttest.OpenBase(t, out), model.NoHooks{}, seq)
				if miss := pefttest.Relative(got, want); !(miss < 1e-4) {
					t.Errorf("merged the logits differ by %.2g", miss)
				}
			})
		}
	}
}

// TestRaisedNorms trains norms of a model whose Hugging Face checkpoint stores what is added to 1: the adapter has them
// as the checkpoint does, and does the same over a GGUF file and over a directory, and merged into these.
func TestRaisedNorms(t *testing.T) {
	file := pefttest.OpenModel(t, archtest.Named(t, "gemma"))
	dir := pefttest.OpenBase(t, pefttest.WriteHFOf(t, file, "gemma",
		map[string]any{"head_dim": file.Model.Spec.HeadDim, "hidden_act": "gelu_pytorch_tanh"}))
	seq := pefttest.Packed(pefttest.TinyData(4, 1))
	base := pefttest.AllLogits(file, model.NoHooks{}, seq)
	for name, make := range map[string]func() (*attach.Adapter, error){
		"ln-tuning": func() (*attach.Adapter, error) { return methods.NewLNTuning(file, method.LNTuning{}) },
		"lora":      func() (*attach.Adapter, error) { return methods.NewLoRA(file, method.LoRA{Rank: 2, Norms: true}) },
	} {
		a, err := make()
		if err != nil {
			t.Fatal(err)
		}
		if got := pefttest.AllLogits(file, pefttest.BindOne(t, a, file), seq); pefttest.Relative(got, base) > 1e-6 {
			t.Errorf("%s: a new adapter changes the model", name)
		}
		for _, p := range a.Tensors {
			if strings.Contains(p.Name, "norm") && math.Abs(float64(p.Data[0])) > 0.9 {
				t.Errorf("%s: tensor %s begins with %v, as if it were raised", name, p.Name, p.Data[0])
			}
		}
		pefttest.Stir(a, 5)
		want := pefttest.AllLogits(file, pefttest.BindOne(t, a, file), seq)
		if pefttest.Relative(want, base) < 1e-3 {
			t.Errorf("%s: the adapter changes next to nothing", name)
		}
		for _, b := range []*attach.Base{file, dir} {
			if miss := pefttest.Relative(pefttest.AllLogits(b, pefttest.BindOne(t, a, b), seq), want); miss > 1e-5 {
				t.Errorf("%s: over %s the logits differ by %.2g", name, b.Path, miss)
			}
			out, _ := mergeTo(t, b, Options{Force: true}, attach.Scaled{Adapter: a, Scale: 1})
			got := pefttest.AllLogits(pefttest.OpenBase(t, out), model.NoHooks{}, seq)
			if miss := pefttest.Relative(got, want); miss > 1e-5 {
				t.Errorf("%s: merged into %s the logits differ by %.2g", name, b.Path, miss)
			}
		}
	}
}

// TestOtherForms merges into Hugging Face directories whose weights are transposed, or have rows in another order, than
// they are computed with. What does not change keeps its bytes.
func TestOtherForms(t *testing.T) {
	seq := pefttest.Packed(pefttest.TinyData(4, 1))
	for name, c := range map[string]struct {
		modelType string
		config    map[string]any
	}{
		"gpt2": {"gpt2", map[string]any{"n_layer": 2, "n_embd": 64, "n_head": 4, "n_positions": 256, "n_inner": 96,
			"layer_norm_epsilon": 1e-5, "activation_function": "gelu_new", "tie_word_embeddings": false}},
		"gptneox": {"gpt_neox", map[string]any{"layer_norm_eps": 1e-5, "hidden_act": "gelu_new", "rotary_pct": 0.25}},
	} {
		file := pefttest.OpenModel(t, archtest.Named(t, name))
		b := pefttest.OpenBase(t, pefttest.WriteHFOf(t, file, c.modelType, c.config))
		base := pefttest.AllLogits(b, model.NoHooks{}, seq)
		if miss := pefttest.Relative(base, pefttest.AllLogits(file, model.NoHooks{}, seq)); miss > 1e-5 {
			t.Fatalf("%s: the directory is another model: %.2g", name, miss)
		}
		for kind, make := range map[string]func() (*attach.Adapter, error){
			"lora":   func() (*attach.Adapter, error) { return methods.NewLoRA(b, method.LoRA{Rank: 2, Layers: "1"}) },
			"bitfit": func() (*attach.Adapter, error) { return methods.NewBitFit(b, method.BitFit{}) },
			"ia3": func() (*attach.Adapter, error) {
				return methods.NewIA3(b, method.IA3{Placement: method.Placement{Targets: []string{"all-linear"}}})
			},
		} {
			a, err := make()
			if err != nil {
				t.Fatal(err)
			}
			pefttest.Stir(a, 5)
			want := pefttest.AllLogits(b, pefttest.BindOne(t, a, b), seq)
			for _, typ := range []string{"", "F32"} {
				out, _ := mergeTo(t, b, Options{Type: typ}, attach.Scaled{Adapter: a, Scale: 1})
				merged := pefttest.OpenBase(t, out)
				if miss := pefttest.Relative(pefttest.AllLogits(merged, model.NoHooks{}, seq), want); miss > 1e-5 {
					t.Errorf("%s: merged a %s, the logits differ by %.2g", name, kind, miss)
				}
				for i, l := range b.Model.Linears() {
					same := bytes.Equal(merged.Model.Linears()[i].W.Data, l.W.Data)
					if kept := kind == "bitfit" || kind == "lora" && l.Layer == 0; same != kept {
						t.Errorf("%s: merged a %s, %s has the same bytes: %v", name, kind, l.Place(), same)
					}
				}
			}
		}
	}
}
