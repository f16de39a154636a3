package train

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/dataset"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/virtual"
	"github.com/peftconv/peftconv/peft/eval"
	"github.com/peftconv/peftconv/peft/generate"
	"github.com/peftconv/peftconv/peft/method"
)

// permutedPair is the same model as a GGUF file, whose rows of q and k are permuted, and as a Hugging Face directory.
func permutedPair(t *testing.T) (inGGUF, inHF *attach.Base) {
	t.Helper()
	return pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t)), pefttest.OpenBase(t, pefttest.Tiny.WriteHF(t, gguf.F32, 1))
}

// TestPrefixOverPermutedRows: a prefix is in the order of the Hugging Face checkpoint whatever base it is over.
func TestPrefixOverPermutedRows(t *testing.T) {
	b, hf := permutedPair(t)
	data := pefttest.TinyData(6, 4)
	for _, text := range []string{"", "the cat"} {
		a, err := virtual.NewPrefixTuning(b,
			method.PrefixTuning{PromptTuning: method.PromptTuning{VirtualTokens: 5, Text: text, Seed: 2}})
		if err != nil {
			t.Fatal(err)
		}
		over, err := eval.Loss(context.Background(), pefttest.Base(b),
			pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), pefttest.Data(data), 0)
		if err != nil {
			t.Fatal(err)
		}
		same, err := eval.Loss(context.Background(), pefttest.Base(hf),
			pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), pefttest.Data(data), 0)
		if err != nil || math.Abs(over.Loss-same.Loss) > 1e-5 {
			t.Errorf("text %q: over permuted rows the loss is %.6f, else %+v, %v", text, over.Loss, same, err)
		}
	}
}

// TestPrefixOfText: keys and values of a text are the text in front.
func TestPrefixOfText(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	text := b.Tokenizer.Encode("the cat", true)
	data := &dataset.Set{}
	for _, e := range pefttest.TinyData(6, 4).Examples {
		ids := append(slices.Clone(text), e.IDs...)
		loss := make([]bool, len(ids))
		for i := len(text) + 1; i < len(ids); i++ {
			loss[i] = true
		}
		data.Examples = append(data.Examples, attach.Example{IDs: ids, Loss: loss})
	}
	want, err := eval.Loss(context.Background(), pefttest.Base(b), nil, pefttest.Data(data), 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data.Examples {
		e := &data.Examples[i]
		e.IDs, e.Loss = e.IDs[len(text):], nil
	}
	start := method.PromptTuning{Text: "the cat"}
	for name, make := range map[string]func() (*attach.Adapter, error){
		"prompt-tuning": func() (*attach.Adapter, error) { return virtual.NewPromptTuning(b, start) },
		"prefix-tuning": func() (*attach.Adapter, error) {
			return virtual.NewPrefixTuning(b, method.PrefixTuning{PromptTuning: start})
		},
		"p-tuning-v2, hidden": func() (*attach.Adapter, error) {
			return virtual.NewPTuningV2(b, method.PTuningV2{PromptTuning: start})
		},
		"p-tuning-v2, kv": func() (*attach.Adapter, error) {
			return virtual.NewPTuningV2(b, method.PTuningV2{PromptTuning: start, Form: method.FormKV})
		},
		"p-tuning-v2, kept": func() (*attach.Adapter, error) {
			return collapsed(b)(virtual.NewPTuningV2(b, method.PTuningV2{PromptTuning: start}))
		},
	} {
		a, err := make()
		if err != nil {
			t.Fatal(err)
		}
		if a.VirtualTokens() != len(text) {
			t.Errorf("%s: %d virtual tokens, expected %d", name, a.VirtualTokens(), len(text))
		}
		got, err := eval.Loss(context.Background(), pefttest.Base(b),
			pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), pefttest.Data(data), 0)
		if err != nil || math.Abs(got.Loss-want.Loss) > 1e-4 {
			t.Errorf("%s: the loss after the text is %+v, %v, expected %.6f", name, got, err, want.Loss)
		}
	}
}

// collapsed is the final form of an adapter.
func collapsed(b *attach.Base) func(a *attach.Adapter, err error) (*attach.Adapter, error) {
	return func(a *attach.Adapter, err error) (*attach.Adapter, error) {
		if err != nil {
			return nil, err
		}
		return a, a.Collapse(b)
	}
}

// TestEncoderIsDropped: after training there is the one tensor that PEFT has, and it does what the encoder did.
func TestEncoderIsDropped(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	for _, c := range pefttest.MethodCases {
		a, err := c.New(b)
		if err != nil {
			t.Fatal(err)
		}
		if a.VirtualTokens() == 0 {
			continue
		}
		out := filepath.Join(t.TempDir(), "out.safetensors")
		r, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(12, 1), pefttest.TinyData(6, 2),
			plain(Options{Steps: 3, Out: out}))
		if err != nil {
			t.Fatal(err)
		}
		if len(a.Tensors) != 1 || a.Tensors[0].Name != virtual.PromptTensor {
			t.Errorf("%s: %d tensors beginning with %s are left", c.Name, len(a.Tensors), a.Tensors[0].Name)
		}
		got, err := eval.Loss(context.Background(), pefttest.Base(b),
			pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), pefttest.Data(pefttest.TinyData(6, 2)), 0)
		if err != nil || math.Abs(got.Loss-*r.EvalLoss) > 1e-6 {
			t.Errorf("%s: the loss is %+v, %v, with what was dropped %.6f", c.Name, got, err, *r.EvalLoss)
		}
		if strings.Contains(a.Describe(), "through") {
			t.Errorf("%s is described as %q", c.Name, a.Describe())
		}
	}
}

// classData is n sequences whose class is whether they hold token 40.
func classData(n int, words [][]int32) *dataset.Set {
	set := pefttest.TinyData(n, 7)
	set.Classes, set.Answers = 2, words
	for i := range set.Examples {
		e := &set.Examples[i]
		e.Class, e.Loss = 1+i%2, nil
		for j := range e.IDs {
			if e.IDs[j] == 30 || e.IDs[j] == 31 {
				e.IDs[j]++
			}
		}
		e.IDs[len(e.IDs)/2] = int32(29 + e.Class)
		if words == nil {
			continue
		}
		answer := words[e.Class-1]
		e.Loss = make([]bool, len(e.IDs)+len(answer))
		e.IDs = append(e.IDs, answer...)
		for j := len(e.IDs) - len(answer); j < len(e.IDs); j++ {
			e.Loss[j] = true
		}
	}
	return set
}

// TestClassifies trains a head, and answer words, on classes that a token decides.
func TestClassifies(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	for _, c := range []struct {
		name  string
		form  string
		words [][]int32
		rate  float64
	}{
		{"head, hidden", method.FormHidden, nil, 2e-2}, {"head, kv", method.FormKV, nil, 2e-2},
		{"words", method.FormKV, [][]int32{{5, 6}, {7}}, 1e-1},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := virtual.NewPTuningV2(b, method.PTuningV2{
				PromptTuning: method.PromptTuning{VirtualTokens: 6, Seed: 1}, Form: c.form,
				Labels: []string{"no", "yes"}, Words: c.words != nil,
			})
			if err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(t.TempDir(), "out.safetensors")
			set := classData(64, c.words)
			if _, err := trainAdapter(context.Background(), b, a, set, classData(32, c.words),
				plain(Options{Steps: 120, BatchTokens: 512, LR: c.rate, Out: out})); err != nil {
				t.Fatal(err)
			}
			again, err := attach.Load(out)
			if err != nil {
				t.Fatal(err)
			}
			r, err := eval.Loss(context.Background(), pefttest.Base(b),
				pefttest.Scaled([]attach.Scaled{{Adapter: again, Scale: 1}}), pefttest.Data(set), 0)
			if err != nil || r.Accuracy == nil || *r.Accuracy < 0.9 {
				t.Fatalf("loss %.4f, accuracy %.2f, %v: expected an accuracy of 0.9 or more", r.Loss, *r.Accuracy, err)
			}
			if again.Config.Classes == nil || again.Config.Classes.Labels[1] != "yes" {
				t.Errorf("the labels are %+v", again.Config.Classes)
			}
			if c.words != nil {
				return
			}
			if _, err := eval.Loss(context.Background(), pefttest.Base(b),
				pefttest.Scaled([]attach.Scaled{{Adapter: again, Scale: 1}}),
				pefttest.Data(pefttest.TinyData(3, 1)), 0); err == nil || !strings.Contains(err.Error(), "no classes") {
				t.Errorf("data without classes gives %v", err)
			}
			if _, err := generate.Run(context.Background(), pefttest.Base(b),
				pefttest.Scaled([]attach.Scaled{{Adapter: again, Scale: 1}}), "a", generate.Options{}, nil); err == nil ||
				!strings.Contains(err.Error(), "classifies") {
				t.Errorf("generating gives %v", err)
			}
		})
	}
}

// TestHeadGradient compares the gradient of a classifier with central differences.
func TestHeadGradient(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a, err := virtual.NewPTuningV2(b, method.PTuningV2{
		PromptTuning: method.PromptTuning{VirtualTokens: 3, Seed: 1}, Labels: []string{"no", "yes"},
	})
	if err != nil {
		t.Fatal(err)
	}
	tr, err := newTrainer(b, a, classData(4, nil), nil, plain(Options{Steps: 1}))
	if err != nil {
		t.Fatal(err)
	}
	loss := func() float64 {
		tr.bound.Stepped(0, 0)
		packed := &batch.Batch{}
		tr.train.Batch(packed, []int{0, 1, 2, 3})
		tr.bound.Expand(packed)
		loss, err := tr.gradients.compute(context.Background(), stepBatches{batches: []*batch.Batch{packed}})
		if err != nil {
			t.Fatal(err)
		}
		return loss
	}
	loss()
	grads := slices.Clone(tr.bound.Grads)
	checkDirections(t, a, &attach.Bound{Adapter: a, Values: tr.bound.Values, Grads: grads}, loss)
}

// TestTemplatePrompt has the virtual tokens of a template among the words of a prompt.
func TestTemplatePrompt(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a, err := virtual.NewPTuning(b, method.PTuning{Template: "[P*2] {q} [P] is {a}", Hidden: 4})
	if err != nil {
		t.Fatal(err)
	}
	if a, err = collapsed(b)(a, nil); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "a.safetensors")
	if err := a.Save(out); err != nil {
		t.Fatal(err)
	}
	if a, err = attach.Load(out); err != nil {
		t.Fatal(err)
	}
	ids, err := a.Templated(b, "what")
	if err != nil {
		t.Fatal(err)
	}
	bos, _ := b.Tokenizer.BOS()
	want := slices.Concat([]int32{bos, -1, -2}, b.Tokenizer.Encode("what", true), []int32{-3},
		b.Tokenizer.Encode("is ", true))
	if !slices.Equal(ids, want) {
		t.Errorf("ids %v, expected %v", ids, want)
	}
	r, err := generate.Run(context.Background(), pefttest.Base(b),
		pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), "what", generate.Options{N: 4, IgnoreEOG: true}, nil)
	if err != nil || r.Tokens != 4 {
		t.Errorf("%+v, %v", r, err)
	}
	two := &attach.Adapter{Config: attach.Config{Template: "[P*3] {x} {y} {a}"}, Method: a.Method}
	if _, err := two.Templated(b, "what"); err == nil || !strings.Contains(err.Error(), "JSON object") {
		t.Errorf("a bare prompt for two fields gives %v", err)
	}
	if ids, err := two.Templated(b, `{"x": "a", "y": "b"}`); err != nil || len(ids) < 6 {
		t.Errorf("two fields give %v, %v", ids, err)
	}
}

// TestVirtualTensors wants tensors that do not fit the configuration to be refused.
func TestVirtualTensors(t *testing.T) {
	s := virtual.VirtualSettings{Tokens: 2, TokenDim: 4, Submodules: 1, Layers: 3}
	prompt := attach.Param{Name: virtual.PromptTensor, Shape: []int{2, 4}}
	for _, c := range []struct {
		config attach.Config
		params []attach.Param
		want   string
	}{
		{attach.Config{Method: virtual.MethodPromptTuning, Settings: &virtual.PromptSettings{VirtualSettings: s}}, nil,
			"no tensor"},
		{attach.Config{Method: virtual.MethodPromptTuning, Settings: &virtual.PromptSettings{VirtualSettings: s}},
			[]attach.Param{prompt, prompt}, "expected only"},
		{attach.Config{Method: virtual.MethodPromptTuning, Settings: &virtual.PromptSettings{VirtualSettings: s}},
			[]attach.Param{{Name: virtual.PromptTensor, Shape: []int{3, 4}}}, "has shape [3 4]"},
		{attach.Config{Method: virtual.MethodPTuning,
			Settings: &virtual.PTuningSettings{VirtualSettings: s, Encoder: "LSTM", Hidden: 2, Deep: 1}},
			[]attach.Param{{Name: virtual.EncoderTable, Shape: []int{2, 4}}}, "expected 13"},
		{attach.Config{Method: virtual.MethodPTuning, Settings: &virtual.PTuningSettings{VirtualSettings: s}},
			[]attach.Param{{Name: "x"}}, "expected only"},
		{attach.Config{Method: virtual.MethodPrefixTuning, Settings: &virtual.PrefixSettings{VirtualSettings: s}}, nil,
			"0 tensors"},
		{attach.Config{Method: virtual.MethodPrefixTuning, Settings: &virtual.PrefixSettings{VirtualSettings: s}},
			[]attach.Param{prompt}, "says [2 24]"},
		{attach.Config{Method: virtual.MethodPrefixTuning, Settings: &virtual.PrefixSettings{VirtualSettings: s}},
			[]attach.Param{{Name: virtual.PromptTensor, Shape: []int{2, 24}}, {Name: virtual.ScoreTensor}}, "expected a matrix"},
		{attach.Config{Method: virtual.MethodPrefixTuning, Settings: &virtual.PrefixSettings{VirtualSettings: s}},
			[]attach.Param{{Name: virtual.PromptTensor, Shape: []int{2, 24}}, {Name: "y"}}, "no place"},
	} {
		if _, err := attach.NewMethod(&c.config, c.params); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %d tensors gives %v, expected an error with %q", c.config.Method, len(c.params), err, c.want)
		}
	}
}

// TestVirtualOptions wants bad options to be refused by name.
func TestVirtualOptions(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	for _, c := range []struct {
		make func() (*attach.Adapter, error)
		want string
	}{
		{func() (*attach.Adapter, error) {
			return virtual.NewPromptTuning(b, method.PromptTuning{Init: "best"})
		}, `"best" is not known`},
		{func() (*attach.Adapter, error) {
			return virtual.NewPromptTuning(b, method.PromptTuning{Init: method.PromptInitText})
		}, "needs a text"},
		{func() (*attach.Adapter, error) {
			return virtual.NewPromptTuning(b, method.PromptTuning{Init: method.PromptInitRandom, Text: "a"})
		}, "the init is random"},
		{func() (*attach.Adapter, error) {
			return virtual.NewPromptTuning(b, method.PromptTuning{VirtualTokens: -1})
		}, "-1 virtual tokens"},
		{func() (*attach.Adapter, error) {
			return virtual.NewPrefixTuning(b,
				method.PrefixTuning{Projection: true, PromptTuning: method.PromptTuning{Text: "a"}})
		}, "starts at random"},
		{func() (*attach.Adapter, error) {
			return virtual.NewPTuning(b, method.PTuning{Encoder: "gru"})
		}, `"gru" is not known`},
		{func() (*attach.Adapter, error) {
			return virtual.NewPTuning(b, method.PTuning{Template: "{a}"})
		}, "0 virtual tokens"},
		{func() (*attach.Adapter, error) {
			return virtual.NewPTuning(b, method.PTuning{Template: "[P*3]{a}", VirtualTokens: 2})
		}, "the template has 3"},
		{func() (*attach.Adapter, error) {
			return virtual.NewPTuningV2(b, method.PTuningV2{Form: "deep"})
		}, `"deep" is not known`},
		{func() (*attach.Adapter, error) {
			return virtual.NewPTuningV2(b, method.PTuningV2{Labels: []string{}})
		}, "two labels"},
	} {
		if _, err := c.make(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, expected one with %q", err, c.want)
		}
	}
}

// TestVirtualOverQuantized trains over weights in K types, and over the same weights in float32: both learn as much of
// what there is to learn.
func TestVirtualOverQuantized(t *testing.T) {
	if testing.Short() {
		t.Skip("training takes seconds")
	}
	whole := pefttest.TinyK
	whole.TypeOf = nil
	bases := []*attach.Base{pefttest.OpenBase(t, whole.WriteGGUF(t)), pefttest.OpenBase(t, pefttest.WriteTinyK(t))}
	for _, c := range []struct {
		name string
		rate float64
		make func(b *attach.Base) (*attach.Adapter, error)
	}{
		{"prompt-tuning", 1e-1, func(b *attach.Base) (*attach.Adapter, error) {
			return virtual.NewPromptTuning(b, method.PromptTuning{VirtualTokens: 4, Seed: 3})
		}},
		{"prefix-tuning", 1e-1, func(b *attach.Base) (*attach.Adapter, error) {
			return virtual.NewPrefixTuning(b, method.PrefixTuning{PromptTuning: method.PromptTuning{VirtualTokens: 4, Seed: 3}})
		}},
		{"p-tuning", 3e-3, func(b *attach.Base) (*attach.Adapter, error) {
			return virtual.NewPTuning(b, method.PTuning{VirtualTokens: 4, Hidden: 32, Seed: 3})
		}},
		{"p-tuning-v2", 1e-1, func(b *attach.Base) (*attach.Adapter, error) {
			return virtual.NewPTuningV2(b, method.PTuningV2{PromptTuning: method.PromptTuning{VirtualTokens: 4, Seed: 3}})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var losses []float64
			for _, b := range bases {
				a, err := c.make(b)
				if err != nil {
					t.Fatal(err)
				}
				r, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), pefttest.TinyData(24, 1),
					plain(Options{Steps: 40, BatchTokens: 512, LR: c.rate}))
				if err != nil {
					t.Fatal(err)
				}
				losses = append(losses, *r.EvalLoss)
				if *r.EvalLoss > *r.BaseLoss-0.3 {
					t.Errorf("the loss goes from %.3f to %.3f", *r.BaseLoss, *r.EvalLoss)
				}
			}
			t.Logf("loss over float32 %.3f, over K types %.3f", losses[0], losses[1])
			if d := losses[0] - losses[1]; math.Abs(d) > 0.25 {
				t.Errorf("the loss ends at %.3f over float32, at %.3f over K types", losses[0], losses[1])
			}
		})
	}
}
