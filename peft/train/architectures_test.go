package train

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/dataset"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

// archCases are those of archtest that have something that no other has; the short test has a third of them.
var archCases = []string{"llama-fused", "mixtral", "qwen3", "gemma2", "gemma4", "gemma4-experts", "gpt-oss",
	"deepseek2", "lfm2", "granitehybrid", "nemotron_h", "qwen35", "qwen3next", "gpt2", "gptneox", "falcon", "bloom",
	"olmo"}

// archMethods are those of pefttest.MethodCases that are trained over all of them, and what they say of those that they
// refuse.
var archMethods = []struct {
	name    string
	refused map[string]string
}{
	{"lora", nil},
	{"dora", nil},
	{"vera", nil},
	{"loha", nil},
	{"lokr", nil},
	{"oft", nil},
	{"adalora", nil},
	{"qat scale", nil},
	{"ia3", map[string]string{"deepseek2": "no linear maps make keys and values"}},
	{"ln-tuning", map[string]string{"olmo": "norms have no weights"}},
	{"bitfit", refusals("no linear map has a bias", "qwen3", "gemma2", "gemma4", "gemma4-experts", "deepseek2", "lfm2",
		"granitehybrid", "nemotron_h", "qwen35", "qwen3next", "falcon", "olmo")},
	{"adapter, parallel", nil},
	{"adapter, parallel to both, gated", nil},
	{"adapter, serial-houlsby", nil},
	{"adapter, serial-pfeiffer", nil},
	{"prompt-tuning, sampled", nil},
	{"p-tuning, MLP", nil},
	{"prefix-tuning, sampled", noPrefix},
	{"p-tuning-v2, hidden", noPrefix},
}

// noPrefix is why some architectures have no prefix.
var noPrefix = map[string]string{
	"gemma4": "reads the keys and values of layer", "deepseek2": "makes its keys and values of latent ones",
	"lfm2": "is a convolution", "granitehybrid": noAttention, "nemotron_h": noAttention, "qwen35": noAttention,
	"qwen3next": noAttention,
}

const noAttention = "carries a recurrent state"

func refusals(why string, cases ...string) map[string]string {
	all := map[string]string{}
	for _, c := range cases {
		all[c] = why
	}
	return all
}

// archBase is the base of a case.
func archBase(t *testing.T, name string) *attach.Base {
	t.Helper()
	return pefttest.OpenModel(t, archtest.Named(t, name))
}

// archData is sequences of 12 to 37 tokens.
func archData() *dataset.Set {
	set := &dataset.Set{}
	for i := range 6 {
		ids := make([]int32, 12+5*i)
		for j := range ids {
			ids[j] = int32((j*j*7 + j*3 + i) % 61)
		}
		set.Examples = append(set.Examples, dataset.Example{IDs: ids})
	}
	return set
}

// TestArchitectures trains every method over every kind of architecture: the loss falls, or the method says before it
// starts why it cannot be trained.
func TestArchitectures(t *testing.T) {
	for i, name := range archCases {
		if testing.Short() && i%3 != 0 {
			continue
		}
		b := archBase(t, name)
		for _, m := range archMethods {
			t.Run(name+"/"+m.name, func(t *testing.T) {
				i := slices.IndexFunc(pefttest.MethodCases, func(c pefttest.MethodCase) bool { return c.Name == m.name })
				a, err := pefttest.MethodCases[i].New(b)
				if why := m.refused[name]; why != "" {
					if err == nil || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), b.Architecture()) {
						t.Errorf("error %v, expected one that says %q", err, why)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				trainFalls(t, b, a)
			})
		}
		t.Run(name+"/ends", func(t *testing.T) {
			opt := method.LoRA{Rank: 2, Norms: len(b.Model.Norms()) > 0, Targets: []string{"ffn"},
				TokenIDs: []int32{3, 9}, Seed: 3}
			for _, l := range b.Model.Ends() {
				opt.Targets = append(opt.Targets, attach.LastPart(l.Module))
			}
			a, err := methods.NewLoRA(b, opt)
			if err != nil {
				t.Fatal(err)
			}
			trainFalls(t, b, a)
			if !b.Model.Spec.Tied {
				opt = method.LoRA{Rank: 2, Save: opt.Targets[1:], Seed: 3}
				if a, err = methods.NewLoRA(b, opt); err != nil {
					t.Fatal(err)
				}
				trainFalls(t, b, a)
			}
		})
	}
}

// trainFalls trains a few steps and wants every trained tensor to have changed, and the loss to have fallen.
func trainFalls(t *testing.T, b *attach.Base, a *attach.Adapter) {
	t.Helper()
	var before [][]float32
	for _, p := range a.Tensors {
		before = append(before, slices.Clone(p.Data))
	}
	out := filepath.Join(t.TempDir(), "out.safetensors")
	r, err := trainAdapter(context.Background(), b, a, archData(), archData(),
		plain(Options{Steps: 8, BatchTokens: 128, Seed: 1, Out: out}))
	if err != nil {
		t.Fatal(err)
	}
	if !(*r.EvalLoss < *r.BaseLoss) || math.IsInf(*r.BaseLoss, 0) {
		t.Errorf("the loss went from %.4f to %.4f", *r.BaseLoss, *r.EvalLoss)
	}
	for i, p := range a.Tensors {
		if i < len(before) && len(before[i]) == len(p.Data) && !p.Frozen && slices.Equal(before[i], p.Data) {
			t.Errorf("%s did not change", p.Name)
		}
	}
	loaded, err := attach.Load(out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loaded.Bind(b); err != nil {
		t.Fatal(err)
	}
}

// TestRouterLoss: the load-balance loss is reported and pushes the routers to balance; a model without experts refuses
// it.
func TestRouterLoss(t *testing.T) {
	b := archBase(t, "mixtral")
	last := func(coefficient float64, batchTokens int) (routers, loss float64) {
		a, err := methods.NewLoRA(b, method.LoRA{Rank: 4, Seed: 3})
		if err != nil {
			t.Fatal(err)
		}
		opt := plain(Options{Steps: 12, BatchTokens: batchTokens, Accumulate: 8, LR: 0.01, RouterAuxLoss: coefficient})
		opt.Observer = OnStep(func(p Progress) { routers, loss = p.RouterLoss, p.Loss })
		if _, err := trainAdapter(context.Background(), b, a, archData(), nil, opt); err != nil {
			t.Fatal(err)
		}
		return routers, loss
	}
	none, plainLoss := last(0, 256)
	little, _ := last(1e-9, 256)
	much, _ := last(3, 256)
	parts, _ := last(3, 64)
	if none != 0 || !(little > 2) || !(much >= 1.98 && much < little-0.01) || math.Abs(parts-much) > 0.2 {
		t.Errorf("losses of the routers: %g without, %g with next to nothing, %g with much, %g in parts", none, little, much,
			parts)
	}
	if !(plainLoss > 0) {
		t.Errorf("the loss is %g", plainLoss)
	}
	dense := archBase(t, "gpt2")
	a, err := methods.NewLoRA(dense, method.LoRA{Rank: 4, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	_, err = trainAdapter(context.Background(), dense, a, archData(), nil, plain(Options{Steps: 1, RouterAuxLoss: 0.1}))
	if err == nil || !strings.Contains(err.Error(), "gpt2") || !strings.Contains(err.Error(), "no experts") {
		t.Errorf("error %v", err)
	}
}

// TestPositions: no sequence goes beyond the positions that have an embedding, with virtual tokens or a prefix before
// it, neither in training nor in generation.
func TestPositions(t *testing.T) {
	b := archBase(t, "gpt2")
	n := b.Model.Positions()
	for _, name := range []string{"prompt-tuning, sampled", "prefix-tuning, sampled"} {
		a := pefttest.MethodNamed(t, b, name)
		for _, c := range []struct {
			tokens int
			fits   bool
		}{{n - a.VirtualTokens(), true}, {n - a.VirtualTokens() + 1, false}} {
			set := &dataset.Set{Examples: []dataset.Example{{IDs: make([]int32, c.tokens)}}}
			_, err := trainAdapter(context.Background(), b, a, set, nil, plain(Options{Steps: 1}))
			refused := err != nil && strings.Contains(err.Error(), "embeddings of 256 positions")
			if c.fits && err != nil || !c.fits && !refused {
				t.Errorf("%s, %d tokens: error %v", name, c.tokens, err)
			}
			a = pefttest.MethodNamed(t, b, name)
		}
	}
	s := b.Model.NewSession(n + 10)
	if _, err := s.Append(make([]int32, n), model.NoHooks{}); err != nil {
		t.Error(err)
	}
	_, err := s.Append(make([]int32, 1), model.NoHooks{})
	if err == nil || !strings.Contains(err.Error(), "256 positions") {
		t.Errorf("error %v", err)
	}
}

// TestVirtualTokens: over windows, sinks, linear biases, learned positions and fused maps the gradients of prefixes and
// virtual tokens are slopes of the loss, and a session computes what a batch does.
func TestVirtualTokens(t *testing.T) {
	for _, name := range []string{"llama-fused", "gemma2", "gpt-oss", "bloom", "gpt2", "falcon", "granitehybrid",
		"deepseek2"} {
		b := archBase(t, name)
		for _, m := range []string{"prefix-tuning, sampled", "p-tuning-v2, hidden", "prompt-tuning, sampled"} {
			if noPrefix[name] != "" && m != "prompt-tuning, sampled" {
				continue
			}
			t.Run(name+"/"+m, func(t *testing.T) {
				a := pefttest.MethodNamed(t, b, m)
				bound, err := a.Attach(b, 1, true)
				if err != nil {
					t.Fatal(err)
				}
				tape, packed := autograd.NewTape(), pefttest.Packed(archData())
				bound.Expand(packed)
				loss := func(record bool) float64 {
					tape.Record(record)
					tape.Reset(0)
					sum, n := b.Model.Loss(tape, packed, bound, 1/float32(packed.TargetCount()))
					if record {
						tape.Backward()
					}
					return sum / float64(n)
				}
				loss(true)
				checkSteps(t, a, bound, 0.1, func() float64 { return loss(false) })
				sessionEqualsBatch(t, b, bound)
			})
		}
	}
}

// sessionEqualsBatch compares the last logits of a sequence.
func sessionEqualsBatch(t *testing.T, b *attach.Base, bound *attach.Bound) {
	t.Helper()
	packed := &batch.Batch{}
	packed.Append(archData().Examples[5].IDs, nil)
	bound.Expand(packed)
	tape := autograd.NewTape()
	tape.Record(false)
	want := b.Model.Logits(tape, packed, bound, []int{packed.Tokens() - 1}).Data
	session := b.Model.NewSession(100)
	if _, err := session.Append(packed.IDs[:9], bound); err != nil {
		t.Fatal(err)
	}
	got, err := session.Append(packed.IDs[9:], bound)
	if err != nil {
		t.Fatal(err)
	}
	if diff := pefttest.Relative(got, want); diff > 1e-4 {
		t.Errorf("logits of a session differ by %.2g", diff)
	}
}
