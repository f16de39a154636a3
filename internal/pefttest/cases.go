package pefttest

import (
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/internal/virtual"
	"github.com/peftconv/peftconv/kernels"
)

// GridCases make adapters of every method that can be trained on the grid of its base.
var GridCases = []MethodCase{
	{"lora", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, methods.LoRAOptions{Rank: 4, Seed: 3})
	}},
	{"lora of several ranks", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, methods.LoRAOptions{Rank: 4, Seed: 3, RSLoRA: true, RankPattern: map[string]int{"up_proj": 2}, AlphaPattern: map[string]float64{"q_proj": 3}})
	}},
	{"dora", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, methods.LoRAOptions{Rank: 4, DoRA: true, Seed: 3})
	}},
	{"pissa", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, methods.LoRAOptions{Rank: 4, Init: attach.InitPiSSA, Seed: 3})
	}},
	{"olora", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, methods.LoRAOptions{Rank: 3, Init: attach.InitOLoRA, RSLoRA: true, Seed: 3})
	}},
	{"loha", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoHa(b, methods.LoHaOptions{Placement: attach.Placement{Seed: 3}, Rank: 3})
	}},
	{"lokr", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoKr(b, methods.LoKrOptions{Placement: attach.Placement{Seed: 3}, Rank: 3, Alpha: 24})
	}},
	{"vera", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewVeRA(b, methods.VeRAOptions{Rank: 16})
	}},
	{"oft", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewOFT(b, methods.OFTOptions{BlockSize: 8})
	}},
	{"oft, exact, one block for all", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewOFT(b, methods.OFTOptions{BlockSize: 16, Exact: true, Share: true})
	}},
	{"adalora", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewAdaLoRA(b, methods.AdaLoRAOptions{Placement: attach.Placement{Seed: 3}, Rank: 2, StartRank: 4, Alpha: 200})
	}},
	{"ia3", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewIA3(b, methods.IA3Options{Placement: attach.Placement{Targets: []string{"all-linear"}}})
	}},
}

// MethodCase makes an adapter.
type MethodCase struct {
	Name string
	New  func(b *attach.Base) (*attach.Adapter, error)
}

// MethodCases make adapters of every method for the tests that hold for all. New ones change nothing; stir moves them.
var MethodCases = []MethodCase{
	{"lora", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, methods.LoRAOptions{Rank: 4, Dropout: 0.1, Seed: 3})
	}},
	{"qat scale", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewQAT(b, methods.QATOptions{Channels: "scale", Rank: 2, Seed: 3})
	}},
	{"qat scale, offset and row", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewQAT(b, methods.QATOptions{Channels: "scale+offset+row", Rank: 2, Seed: 3})
	}},
	{"qat offset", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewQAT(b, methods.QATOptions{Channels: "offset", Rank: 2, Seed: 3})
	}},
	{"qat code", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewQAT(b, methods.QATOptions{Channels: "code", Rank: 4, Seed: 3})
	}},
	{"ia3", func(b *attach.Base) (*attach.Adapter, error) { return methods.NewIA3(b, methods.IA3Options{}) }},
	{"ia3, all outputs and one input", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewIA3(b, methods.IA3Options{Placement: attach.Placement{Targets: []string{"all-linear"}}, FeedForward: []string{"o_proj"}})
	}},
	{"ln-tuning", func(b *attach.Base) (*attach.Adapter, error) { return methods.NewLNTuning(b, methods.NormOptions{}) }},
	{"bitfit", func(b *attach.Base) (*attach.Adapter, error) { return methods.NewBitFit(b, methods.BitFitOptions{}) }},
	{"loha", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoHa(b, methods.LoHaOptions{Placement: attach.Placement{Seed: 3}, Rank: 3})
	}},
	{"lokr", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoKr(b, methods.LoKrOptions{Placement: attach.Placement{Seed: 3}, Rank: 3, Alpha: 24})
	}},
	{"lokr of two products", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoKr(b, methods.LoKrOptions{Placement: attach.Placement{Seed: 3}, Rank: 1, DecomposeBoth: true, Factor: 4})
	}},
	{"prompt-tuning, sampled", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPromptTuning(b, virtual.PromptOptions{VirtualTokens: 4, Seed: 3})
	}},
	{"prompt-tuning, random", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPromptTuning(b, virtual.PromptOptions{VirtualTokens: 3, Init: virtual.PromptInitRandom, Seed: 3})
	}},
	{"vera", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewVeRA(b, methods.VeRAOptions{Rank: 16, Dropout: 0.1})
	}},
	{"oft", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewOFT(b, methods.OFTOptions{BlockSize: 8})
	}},
	{"oft, exact, one block for all", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewOFT(b, methods.OFTOptions{BlockSize: 16, Exact: true, Share: true})
	}},
	{"prefix-tuning, sampled", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPrefixTuning(b, virtual.PrefixOptions{PromptOptions: virtual.PromptOptions{VirtualTokens: 4, Seed: 3}})
	}},
	{"prefix-tuning, through a network", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPrefixTuning(b, virtual.PrefixOptions{PromptOptions: virtual.PromptOptions{VirtualTokens: 4, Seed: 3}, Projection: true, EncoderHidden: 8})
	}},
	{"adalora", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewAdaLoRA(b, methods.AdaLoRAOptions{Placement: attach.Placement{Seed: 3}, Rank: 2, StartRank: 4, Alpha: 200, Dropout: 0.1})
	}},
	{"p-tuning, LSTM", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPTuning(b, virtual.PTuningOptions{VirtualTokens: 4, Hidden: 8, Dropout: 0.1, Seed: 3})
	}},
	{"p-tuning, MLP", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPTuning(b, virtual.PTuningOptions{VirtualTokens: 4, Hidden: 16, Encoder: virtual.EncoderMLP, Seed: 3})
	}},
	{"p-tuning-v2, hidden", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPTuningV2(b, virtual.PTuningV2Options{PromptOptions: virtual.PromptOptions{VirtualTokens: 4, Seed: 3}})
	}},
	{"p-tuning-v2, keys and values", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPTuningV2(b, virtual.PTuningV2Options{PromptOptions: virtual.PromptOptions{VirtualTokens: 4, Seed: 3}, Form: virtual.FormKV})
	}},
	{"dora", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, methods.LoRAOptions{Rank: 4, DoRA: true, Seed: 3})
	}},
	{"dora with dropout", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, methods.LoRAOptions{Rank: 4, DoRA: true, Dropout: 0.1, Seed: 3})
	}},
	{"pissa", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, methods.LoRAOptions{Rank: 4, Init: attach.InitPiSSA, Targets: []string{"all-linear", "lm_head"}, Seed: 3})
	}},
	{"olora", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, methods.LoRAOptions{Rank: 4, Init: attach.InitOLoRA, RSLoRA: true, Seed: 3})
	}},
	{"lora at both ends", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, methods.LoRAOptions{Rank: 4, Targets: []string{"q_proj", "embed_tokens", "lm_head"}, Seed: 3})
	}},
	{"lora and whole tensors", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, methods.LoRAOptions{Rank: 4, Norms: true, Save: []string{"lm_head", "embed_tokens"}, Seed: 3})
	}},
	{"lora and tokens", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, methods.LoRAOptions{Rank: 4, TokenIDs: []int32{9, 4, 20}, Seed: 3})
	}},
	{"adapter, parallel", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewBottleneck(b, methods.BottleneckOptions{Seed: 3, Bottleneck: 8})
	}},
	{"adapter, parallel to both, gated", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewBottleneck(b, methods.BottleneckOptions{Seed: 3, Bottleneck: 8, Activation: "swiglu", Parts: []string{"attention", "ffn"}})
	}},
	{"adapter, parallel to the stream", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewBottleneck(b, methods.BottleneckOptions{Seed: 3, Bottleneck: 8, Activation: "relu", Scale: 0.5, Input: methods.InputStream, Layers: "1"})
	}},
	{"adapter, serial-houlsby", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewBottleneck(b, methods.BottleneckOptions{Seed: 3, Bottleneck: 8, Placement: methods.SerialHoulsby, Activation: "gelu"})
	}},
	{"adapter, serial-pfeiffer", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewBottleneck(b, methods.BottleneckOptions{Seed: 3, Bottleneck: 8, Placement: methods.SerialPfeiffer, Parts: []string{"attention", "ffn"}})
	}},
}

// Stir moves every trained value of an adapter a little.
func Stir(a *attach.Adapter, seed uint64) {
	for i := range a.Tensors {
		p := &a.Tensors[i]
		if p.Frozen {
			continue
		}
		noise := make([]float32, len(p.Data))
		prng.NewRandom(seed, p.Name).Normal(noise, 0.1)
		kernels.Add(p.Data, noise)
	}
}

// Over float32, where next to nothing is rounded, adapters on the grid pass the tests that hold for all methods.
func init() {
	for i, c := range GridCases {
		if i%2 == 0 && c.Name != "dora" { // whose norms, which count as constants, are made anew with the blocks
			MethodCases = append(MethodCases, MethodCase{Name: c.Name + " on the grid", New: func(b *attach.Base) (*attach.Adapter, error) {
				a, err := c.New(b)
				if err == nil {
					err = a.TrainOnGrid(b, attach.GridOptions{Seed: 3})
				}
				return a, err
			}})
		}
	}
}
