package peft

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
)

// mergeable reports whether an adapter changes weights or vectors.
func mergeable(t *testing.T, a *attach.Adapter, b *attach.Base) bool {
	t.Helper()
	bound, err := a.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	_, ok := attach.As[attach.Vectorial](bound.Attachment)
	return ok || bound.Deltas() != nil
}

// TestMethodMerges merges every method that can be merged into float32, in a GGUF base with permuted rows and in a Hugging
// Face directory, and compares logits with base and adapter. The same adapter does the same over both.
func TestMethodMerges(t *testing.T) {
	file, dir := openBase(t, tiny.writeGGUF(t)), openBase(t, tiny.writeHF(t, gguf.F32, 2))
	seq := packed(tinyData(4, 1))
	for _, c := range methodCases {
		t.Run(c.name, func(t *testing.T) {
			a, err := c.new(file)
			if err != nil {
				t.Fatal(err)
			}
			if !mergeable(t, a, file) {
				t.Skip("it is no change of weights")
			}
			stir(a, 5)
			base := allLogits(file, model.NoHooks{}, seq)
			for _, strength := range []float64{1, 0.5} {
				hooks, err := attach.BindAll(file, []attach.Scaled{{Adapter: a, Scale: strength}})
				if err != nil {
					t.Fatal(err)
				}
				want := allLogits(file, hooks, seq)
				if relative(want, base) < 1e-3 {
					t.Fatal("the adapter changes next to nothing")
				}
				for _, b := range []*attach.Base{file, dir} {
					hooks, err := attach.BindAll(b, []attach.Scaled{{Adapter: a, Scale: strength}})
					if err != nil {
						t.Fatal(err)
					}
					if err := relative(allLogits(b, hooks, seq), want); err > 2e-5 {
						t.Errorf("over %s the logits differ by %.2g", b.Path, err)
					}
					out, report := mergeTo(t, b, MergeOptions{Type: "F32", Force: true}, attach.Scaled{Adapter: a, Scale: strength})
					if err := relative(allLogits(openBase(t, out), model.NoHooks{}, seq), want); err > 2e-5 {
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
	b := openBase(t, tiny.writeGGUF(t))
	everywhere := attach.Placement{Targets: []string{"all-linear"}}
	var adapters []attach.Scaled
	for _, make := range []func() (*attach.Adapter, error){
		func() (*attach.Adapter, error) { return methods.NewIA3(b, methods.IA3Options{}) },
		func() (*attach.Adapter, error) { return methods.NewBitFit(b, methods.BitFitOptions{}) },
		func() (*attach.Adapter, error) { return methods.NewOFT(b, methods.OFTOptions{BlockSize: 8}) },
		func() (*attach.Adapter, error) { return methods.NewLoRA(b, methods.LoRAOptions{Rank: 2}) },
		func() (*attach.Adapter, error) {
			return methods.NewIA3(b, methods.IA3Options{Placement: everywhere, FeedForward: []string{"o_proj"}})
		},
		func() (*attach.Adapter, error) { return methods.NewLNTuning(b, methods.NormOptions{}) },
		func() (*attach.Adapter, error) { return methods.NewLNTuning(b, methods.NormOptions{Layers: "1"}) },
		func() (*attach.Adapter, error) {
			return methods.NewOFT(b, methods.OFTOptions{BlockSize: 16, Exact: true})
		},
		func() (*attach.Adapter, error) { return methods.NewBitFit(b, methods.BitFitOptions{}) },
	} {
		a, err := make()
		if err != nil {
			t.Fatal(err)
		}
		stir(a, uint64(len(adapters)))
		adapters = append(adapters, attach.Scaled{Adapter: a, Scale: 0.5 + 0.25*float64(len(adapters)%3)})
	}
	seq := packed(tinyData(4, 1))
	for name, order := range map[string][]attach.Scaled{"as listed": adapters, "the last four": adapters[5:], "the first five": adapters[:5]} {
		hooks, err := attach.BindAll(b, order)
		if err != nil {
			t.Fatal(err)
		}
		out, _ := mergeTo(t, b, MergeOptions{}, order...)
		if err := relative(allLogits(openBase(t, out), model.NoHooks{}, seq), allLogits(b, hooks, seq)); err > 2e-5 {
			t.Errorf("%s: merged the logits differ by %.2g", name, err)
		}
	}
}

// TestBiasesInHuggingFace looks at the configuration and the shards of a directory that gets biases.
func TestBiasesInHuggingFace(t *testing.T) {
	b := openBase(t, tiny.writeHF(t, gguf.BF16, 2))
	a, err := methods.NewBitFit(b, methods.BitFitOptions{Placement: attach.Placement{Targets: []string{"q_proj", "up_proj"}, Layers: "1"}})
	if err != nil {
		t.Fatal(err)
	}
	stir(a, 5)
	out, report := mergeTo(t, b, MergeOptions{}, attach.Scaled{Adapter: a, Scale: 1})
	config := string(fileBytes(t, out+"/config.json"))
	for _, flag := range []string{`"attention_bias": true`, `"mlp_bias": true`} {
		if !strings.Contains(config, flag) {
			t.Errorf("config.json has no %s:\n%s", flag, config)
		}
	}
	if want := 2 * 7; len(report.Tensors) != want {
		t.Errorf("%d tensors were written, expected %d biases", len(report.Tensors), want)
	}
	for _, l := range openBase(t, out).Model.Linears() {
		trained := strings.Contains(l.Module, "layers.1.") && (attach.HasSuffix(l.Module, "q_proj") || attach.HasSuffix(l.Module, "up_proj"))
		if l.Bias == nil || (relative(l.Bias, make([]float32, len(l.Bias))) > 0) != trained {
			t.Errorf("%s has the bias %v", l.Module, l.Bias)
		}
	}
}

// TestScaledRowsKeepLevels merges (IA)³ into blocks whose scales take it up: nearly nothing is lost.
func TestScaledRowsKeepLevels(t *testing.T) {
	b := openBase(t, writeTinyK(t))
	a, err := methods.NewIA3(b, methods.IA3Options{})
	if err != nil {
		t.Fatal(err)
	}
	stir(a, 5)
	_, report := mergeTo(t, b, MergeOptions{}, attach.Scaled{Adapter: a, Scale: 1})
	for _, m := range report.Tensors {
		if m.Recovery < 0.99 || m.Noise > 0.02 {
			t.Errorf("%+v", m)
		}
	}
}

// familyNamed is the family of a method's name.
func familyNamed(name string) (*attach.Family, error) {
	for _, f := range attach.Families {
		if f.Name == name {
			return f, nil
		}
	}
	return nil, errors.New("there is no method " + name)
}

// TestMethodsOverQuantized trains every method over weights in K types, and over the same weights in float32: the losses
// are the same within noise.
func TestMethodsOverQuantized(t *testing.T) {
	if testing.Short() {
		t.Skip("training takes seconds")
	}
	whole := tinyK
	whole.typeOf = nil
	bases := []*attach.Base{openBase(t, whole.writeGGUF(t)), openBase(t, writeTinyK(t))}
	for _, c := range methodCases {
		if f, err := familyNamed(c.name); err != nil || f.Settings == nil {
			continue // a variant: one of each method is enough
		}
		t.Run(c.name, func(t *testing.T) {
			var gains []float64
			for _, b := range bases {
				a, err := c.new(b)
				if err != nil {
					t.Fatal(err)
				}
				opt := trainOptions("")
				opt.Epochs, opt.Steps = 0, 10
				r, err := Train(context.Background(), b, a, tinyData(24, 1), tinyData(24, 1), opt)
				if err != nil {
					t.Fatal(err)
				}
				gains = append(gains, *r.BaseLoss-*r.EvalLoss)
			}
			t.Logf("the loss falls by %.3f over float32, by %.3f over K types", gains[0], gains[1])
			if gains[1] < 0.75*gains[0] || gains[0] < 0.75*gains[1] || gains[0] < 0.01 {
				t.Error("which is not the same")
			}
		})
	}
}
