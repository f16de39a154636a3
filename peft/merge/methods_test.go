package merge

import (
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

// mergeable reports whether an adapter changes weights or vectors.
func mergeable(t *testing.T, a *attach.Adapter, b *attach.Base) bool {
	t.Helper()
	bound, err := a.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	return bound.Effect.Vectors != nil || bound.Changes() != nil
}

// TestMethodMerges merges every method that can be merged into float32, in a GGUF base with permuted rows and in a
// Hugging Face directory, and compares logits with base and adapter. The same adapter does the same over both.
func TestMethodMerges(t *testing.T) {
	file, dir := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t)),
		pefttest.OpenBase(t, pefttest.Tiny.WriteHF(t, gguf.F32, 2))
	seq := pefttest.Packed(pefttest.TinyData(4, 1))
	for _, c := range pefttest.MethodCases {
		t.Run(c.Name, func(t *testing.T) {
			a, err := c.New(file)
			if err != nil {
				t.Fatal(err)
			}
			if !mergeable(t, a, file) {
				t.Skip("it is no change of weights")
			}
			pefttest.Stir(a, 5)
			base := pefttest.AllLogits(file, model.NoHooks{}, seq)
			for _, strength := range []float64{1, 0.5} {
				hooks, err := attach.BindAll(file, []attach.Scaled{{Adapter: a, Scale: strength}})
				if err != nil {
					t.Fatal(err)
				}
				want := pefttest.AllLogits(file, hooks, seq)
				if pefttest.Relative(want, base) < 1e-3 {
					t.Fatal("the adapter changes next to nothing")
				}
				for _, b := range []*attach.Base{file, dir} {
					hooks, err := attach.BindAll(b, []attach.Scaled{{Adapter: a, Scale: strength}})
					if err != nil {
						t.Fatal(err)
					}
					if err := pefttest.Relative(pefttest.AllLogits(b, hooks, seq), want); err > 2e-5 {
						t.Errorf("over %s the logits differ by %.2g", b.Path, err)
					}
					out, report := mergeTo(t, b, Options{Type: "F32", Force: true}, attach.Scaled{Adapter: a, Scale: strength})
					if err := pefttest.Relative(pefttest.AllLogits(pefttest.OpenBase(t, out), model.NoHooks{}, seq),
						want); err > 2e-5 {
						t.Errorf("merged into %s the logits differ by %.2g", b.Path, err)
					}
					if report.Recovery < 0.999 || report.Recovery > 1.001 {
						t.Errorf("the recovery is %v", report.Recovery)
					}
				}
			}
		})
	}
}

// TestSeveralMethodsMerge compares the merge of adapters of several methods with what they do at once, in two orders.
func TestSeveralMethodsMerge(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	everywhere := method.Placement{Targets: []string{"all-linear"}}
	var adapters []attach.Scaled
	for _, make := range []func() (*attach.Adapter, error){
		func() (*attach.Adapter, error) { return methods.NewIA3(b, method.IA3{}) },
		func() (*attach.Adapter, error) { return methods.NewBitFit(b, method.BitFit{}) },
		func() (*attach.Adapter, error) { return methods.NewOFT(b, method.OFT{BlockSize: 8}) },
		func() (*attach.Adapter, error) { return methods.NewLoRA(b, method.LoRA{Rank: 2}) },
		func() (*attach.Adapter, error) {
			return methods.NewIA3(b, method.IA3{Placement: everywhere, FeedForward: []string{"o_proj"}})
		},
		func() (*attach.Adapter, error) { return methods.NewLNTuning(b, method.LNTuning{}) },
		func() (*attach.Adapter, error) { return methods.NewLNTuning(b, method.LNTuning{Layers: "1"}) },
		func() (*attach.Adapter, error) {
			return methods.NewOFT(b, method.OFT{BlockSize: 16, Exact: true})
		},
		func() (*attach.Adapter, error) { return methods.NewBitFit(b, method.BitFit{}) },
	} {
		a, err := make()
		if err != nil {
			t.Fatal(err)
		}
		pefttest.Stir(a, uint64(len(adapters)))
		adapters = append(adapters, attach.Scaled{Adapter: a, Scale: 0.5 + 0.25*float64(len(adapters)%3)})
	}
	seq := pefttest.Packed(pefttest.TinyData(4, 1))
	for name, order := range map[string][]attach.Scaled{"as listed": adapters, "the last four": adapters[5:],
		"the first five": adapters[:5]} {
		hooks, err := attach.BindAll(b, order)
		if err != nil {
			t.Fatal(err)
		}
		out, _ := mergeTo(t, b, Options{}, order...)
		if err := pefttest.Relative(pefttest.AllLogits(pefttest.OpenBase(t, out), model.NoHooks{}, seq),
			pefttest.AllLogits(b, hooks, seq)); err > 2e-5 {
			t.Errorf("%s: merged the logits differ by %.2g", name, err)
		}
	}
}

// TestBiasesInHuggingFace looks at the configuration and the shards of a directory that gets biases.
func TestBiasesInHuggingFace(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteHF(t, gguf.BF16, 2))
	a, err := methods.NewBitFit(b, method.BitFit{Placement: method.Placement{Targets: []string{"q_proj", "up_proj"},
		Layers: "1"}})
	if err != nil {
		t.Fatal(err)
	}
	pefttest.Stir(a, 5)
	out, report := mergeTo(t, b, Options{}, attach.Scaled{Adapter: a, Scale: 1})
	config := string(pefttest.FileBytes(t, out+"/config.json"))
	for _, flag := range []string{`"attention_bias": true`, `"mlp_bias": true`} {
		if !strings.Contains(config, flag) {
			t.Errorf("config.json has no %s:\n%s", flag, config)
		}
	}
	if want := 2 * 7; len(report.Tensors) != want {
		t.Errorf("%d tensors were written, expected %d biases", len(report.Tensors), want)
	}
	for _, l := range pefttest.OpenBase(t, out).Model.Linears() {
		trained := strings.Contains(l.Module, "layers.1.") &&
			(attach.HasSuffix(l.Module, "q_proj") || attach.HasSuffix(l.Module, "up_proj"))
		if l.Bias == nil || (pefttest.Relative(l.Bias, make([]float32, len(l.Bias))) > 0) != trained {
			t.Errorf("%s has the bias %v", l.Module, l.Bias)
		}
	}
}

// TestScaledRowsKeepCodes merges (IA)³ into the scales of blocks: nearly nothing is lost.
func TestScaledRowsKeepCodes(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	a, err := methods.NewIA3(b, method.IA3{})
	if err != nil {
		t.Fatal(err)
	}
	pefttest.Stir(a, 5)
	_, report := mergeTo(t, b, Options{}, attach.Scaled{Adapter: a, Scale: 1})
	for _, m := range report.Tensors {
		if m.Recovery < 0.99 || m.Noise > 0.02 {
			t.Errorf("%+v", m)
		}
	}
}
