package export

import (
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

// llamaLoRAs are adapters for the comparison with llama.cpp: of one rank, of a rank by kind of map, of some experts.
var llamaLoRAs = map[string]func(b *attach.Base) method.LoRA{
	"one rank": func(b *attach.Base) method.LoRA {
		return method.LoRA{Rank: 4, Alpha: 6, Seed: 3, Targets: someOf(b, 1)}
	},
	"ranks": func(b *attach.Base) method.LoRA {
		return method.LoRA{Rank: 3, Alpha: 6, RSLoRA: true, Seed: 3, Targets: someOf(b, 1), RankPattern: map[string]int{
			"q_proj": 5, "v_proj": 1, "down_proj": 7, `experts\.1\.\w+`: 2, "qkv_proj": 6, `input_linear\.weight`: 4}}
	},
	"some": func(b *attach.Base) method.LoRA {
		return method.LoRA{Rank: 2, Alpha: 3, Seed: 3, Targets: someOf(b, 2)}
	},
	"ends": func(b *attach.Base) method.LoRA {
		opt := method.LoRA{Rank: 2, Alpha: 3, Seed: 3, Targets: someOf(b, 3)}
		for _, l := range b.Model.Ends() {
			if !b.Model.Spec.Tied && !slices.Contains(b.Model.Arch.PairsUnread, l.Role) {
				opt.Targets = append(opt.Targets, attach.LastPart(l.Module))
			}
		}
		return opt
	},
}

// someOf are every n-th of the modules whose pairs llama.cpp computes.
func someOf(b *attach.Base, n int) (targets []string) {
	var all []string
	for _, l := range b.Model.Linears() {
		name := l.Names()[len(l.Names())-1]
		if !slices.Contains(b.Model.Arch.PairsUnread, l.Role) && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	for i := n - 1; i < len(all); i += n {
		targets = append(targets, all[i])
	}
	return targets
}

// TestLlamaLoRA holds the logits of every architecture with an exported LoRA, in an unmodified llama.cpp whose driver
// PEFTCONV_LLAMA_CLIENT names, against those with the adapter here.
func TestLlamaLoRA(t *testing.T) {
	llama := archtest.FindLlama(t)
	for _, m := range archtest.All() {
		t.Run(m.Name, func(t *testing.T) {
			b := pefttest.OpenModel(t, &m)
			for name, opt := range llamaLoRAs {
				a := pefttest.Trained(t, b, opt(b))
				compareWithLlama(t, llama, name, b, a)
			}
		})
	}
}

// compareWithLlama runs a model with an exported adapter in both.
func compareWithLlama(t *testing.T, llama archtest.Llama, name string, b *attach.Base, a *attach.Adapter) {
	t.Helper()
	lora := filepath.Join(t.TempDir(), "lora.gguf")
	if err := GGUF(pefttest.Adapter(a), pefttest.Base(b), lora); err != nil {
		t.Fatal(err)
	}
	ids := archtest.IDs(24)
	logits := llama.Logits(t, b.Path, ids, "--lora", lora)
	packed := &batch.Batch{}
	packed.Append(ids, nil)
	got := pefttest.AllLogits(b, pefttest.BindOne(t, a, b), packed)
	without := pefttest.AllLogits(b, model.NoHooks{}, packed)
	if len(logits) != len(got) {
		t.Fatalf("%s: llama.cpp gives %d logits, expected %d", name, len(logits), len(got))
	}
	worst, moved, largest, limit := 0.0, 0.0, 0.0, llama.Limit(&b.Model.Spec)
	for i := range got {
		want := float64(logits[i])
		worst, largest = max(worst, math.Abs(float64(got[i])-want)), max(largest, math.Abs(want))
		moved = max(moved, math.Abs(float64(without[i])-want))
	}
	t.Logf("%s: %.2g of %.3g, the adapter moves them by %.2g", name, worst/largest, largest, moved/largest)
	if !(worst <= limit*largest) || moved < 1e-3*largest {
		t.Errorf("%s: logits differ by %g of the largest, %g; the adapter moves them by %g", name, worst/largest, largest,
			moved/largest)
	}
}

// TestFusedPairs: the pairs of maps whose rows one tensor holds are its pair's blocks, and an expert without a pair has
// zeros.
func TestFusedPairs(t *testing.T) {
	cases := map[string]archtest.Model{}
	for _, m := range archtest.All() {
		cases[m.Name] = m
	}
	experts := []arch.Role{arch.ExpertGate, arch.ExpertUp}
	fusedExperts := cases["mixtral"]
	fusedExperts.Fused = experts
	for _, m := range []archtest.Model{cases["llama-fused"], cases["mixtral"], fusedExperts, cases["phi3"]} {
		b := pefttest.OpenModel(t, &m)
		for name, opt := range llamaLoRAs {
			if name == "ends" { // which are written otherwise: see package train
				continue
			}
			a := pefttest.Trained(t, b, opt(b))
			path := filepath.Join(t.TempDir(), "lora.gguf")
			if err := GGUF(pefttest.Adapter(a), pefttest.Base(b), path); err != nil {
				t.Fatal(err)
			}
			checkFused(t, m.Name+", "+name, path, b, a)
		}
	}
}

// TestParameterPairs: a LoRA on parameters that have the weights of all experts gives the file that the same pairs on
// each expert give.
func TestParameterPairs(t *testing.T) {
	for _, m := range archtest.All() {
		if !slices.Contains([]string{"gemma4-experts", "qwen35moe", "gpt-oss"}, m.Name) {
			continue
		}
		b := pefttest.OpenModel(t, &m)
		export := func(targets []string, start func(a *attach.Adapter)) (*attach.Adapter, *gguf.File) {
			a, err := methods.NewLoRA(b, method.LoRA{Rank: 3, Alpha: 5, Targets: targets})
			if err != nil {
				t.Fatal(err)
			}
			start(a)
			path := filepath.Join(t.TempDir(), "lora.gguf")
			if err := GGUF(pefttest.Adapter(a), pefttest.Base(b), path); err != nil {
				t.Fatal(err)
			}
			f, err := gguf.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			return a, f
		}
		a, got := export([]string{"experts.gate_up_proj", "experts.down_proj"}, func(a *attach.Adapter) {
			pefttest.Stir(a, 6)
		})
		pairs, err := a.Method.(*methods.LoRA).Pairs(b, a.Tensors)
		if err != nil {
			t.Fatal(err)
		}
		_, want := export([]string{"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"}, func(apart *attach.Adapter) {
			values := map[string][]float32{}
			for _, p := range pairs {
				values[attach.LoRAName(p.Linear.Module, "A")] = p.A
				values[attach.LoRAName(p.Linear.Module, "B")] = p.B
			}
			for _, p := range apart.Tensors {
				copy(p.Data, values[p.Name])
			}
		})
		if len(got.Tensors) != len(want.Tensors) {
			t.Errorf("%s: %d tensors, expected %d", m.Name, len(got.Tensors), len(want.Tensors))
		}
		for _, tensor := range want.Tensors {
			if there := got.Tensor(tensor.Name); there == nil || !slices.Equal(there.Shape, tensor.Shape) ||
				!slices.Equal(floatsOf(there), floatsOf(tensor)) {
				t.Errorf("%s: %s is another", m.Name, tensor.Name)
			}
		}
	}
}

// checkFused compares the change of every tensor in the file with those of the maps in it.
func checkFused(t *testing.T, name, path string, b *attach.Base, a *attach.Adapter) {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	bound, err := a.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]float32{}
	for l, c := range bound.Changes() {
		tensor := b.GGUF.Tensor(l.Tensor)
		if want[l.Tensor] == nil {
			want[l.Tensor] = make([]float32, tensor.Elements())
		}
		c.AddRows(want[l.Tensor][l.FirstRow*l.W.Cols:], 0, l.W.Rows)
	}
	if len(f.Tensors) != 2*len(want) {
		t.Errorf("%s: %d tensors in the file for %d of the base", name, len(f.Tensors), len(want))
	}
	alpha, _ := f.Meta.Float("adapter.lora.alpha")
	for tensor, w := range want {
		ta, tb := f.Tensor(tensor+".lora_a"), f.Tensor(tensor+".lora_b")
		base := b.GGUF.Tensor(tensor)
		if ta == nil || tb == nil || len(ta.Shape) != len(base.Shape) || len(tb.Shape) != len(base.Shape) ||
			!slices.Equal(ta.Shape[2:], base.Shape[2:]) || !slices.Equal(tb.Shape[1:], base.Shape[1:]) {
			t.Fatalf("%s: the pair of %s is %v and %v", name, tensor, ta, tb)
		}
		scale := 1.0
		if alpha != 0 {
			scale = alpha / float64(tb.Shape[0])
		}
		var got []float32
		rank, in, out := int(tb.Shape[0]), int(ta.Shape[0]), int(tb.Shape[1])
		as, bs := floatsOf(ta), floatsOf(tb)
		for e := range len(as) / (rank * in) {
			got = append(got, product(as[e*rank*in:], bs[e*out*rank:], rank, in, out, scale)...)
		}
		if far := pefttest.Relative(got, w); far > 1e-6 {
			t.Errorf("%s: the change of %s is %.2g apart", name, tensor, far)
		}
	}
}
