package pefttest

import (
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/lycoris"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/internal/virtual"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/method"
)

// QuantizedCases make quantization-aware adapters of every method that has such.
var QuantizedCases = []MethodCase{
	{"lora", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, method.LoRA{Rank: 4, Seed: 3})
	}},
	{"lora of several ranks", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, method.LoRA{Rank: 4, Seed: 3, RSLoRA: true,
			RankPattern: map[string]int{"up_proj": 2}, AlphaPattern: map[string]float64{"q_proj": 3}})
	}},
	{"dora", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, method.LoRA{Rank: 4, DoRA: true, Seed: 3})
	}},
	{"pissa", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, method.LoRA{Rank: 4, Init: method.InitPiSSA, Seed: 3})
	}},
	{"olora", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, method.LoRA{Rank: 3, Init: method.InitOLoRA, RSLoRA: true, Seed: 3})
	}},
	{"loha", func(b *attach.Base) (*attach.Adapter, error) {
		return lycoris.NewLoHa(b, method.LoHa{Placement: method.Placement{Seed: 3}, Rank: 3})
	}},
	{"lokr", func(b *attach.Base) (*attach.Adapter, error) {
		return lycoris.NewLoKr(b, method.LoKr{Placement: method.Placement{Seed: 3}, Rank: 3, Alpha: 24})
	}},
	{"vera", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewVeRA(b, method.VeRA{Rank: 16})
	}},
	{"oft", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewOFT(b, method.OFT{BlockSize: 8})
	}},
	{"oft, exact, one block for all", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewOFT(b, method.OFT{BlockSize: 16, Exact: true, Share: true})
	}},
	{"adalora", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewAdaLoRA(b, method.AdaLoRA{Placement: method.Placement{Seed: 3}, Rank: 2, StartRank: 4,
			Alpha: 200})
	}},
	{"ia3", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewIA3(b, method.IA3{Placement: method.Placement{Targets: []string{"all-linear"}}})
	}},
}

// MethodCase makes an adapter.
type MethodCase struct {
	Name string
	New  func(b *attach.Base) (*attach.Adapter, error)
}

// MethodCases make adapters of every method for the tests that hold for all. New ones change nothing; Stir changes
// their values.
var MethodCases = []MethodCase{
	{"lora", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, method.LoRA{Rank: 4, Dropout: 0.1, Seed: 3})
	}},
	{"qat scale", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewQAT(b, method.QAT{Channels: "scale", Rank: 2, Seed: 3})
	}},
	{"qat scale, offset and row", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewQAT(b, method.QAT{Channels: "scale+offset+row", Rank: 2, Seed: 3})
	}},
	{"qat offset", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewQAT(b, method.QAT{Channels: "offset", Rank: 2, Seed: 3})
	}},
	{"qat code", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewQAT(b, method.QAT{Channels: "code", Rank: 4, Seed: 3})
	}},
	{"ia3", func(b *attach.Base) (*attach.Adapter, error) { return methods.NewIA3(b, method.IA3{}) }},
	{"ia3, all outputs and one input", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewIA3(b, method.IA3{Placement: method.Placement{Targets: []string{"all-linear"}},
			FeedForward: []string{"o_proj"}})
	}},
	{"ln-tuning", func(b *attach.Base) (*attach.Adapter, error) { return methods.NewLNTuning(b, method.LNTuning{}) }},
	{"bitfit", func(b *attach.Base) (*attach.Adapter, error) { return methods.NewBitFit(b, method.BitFit{}) }},
	{"loha", func(b *attach.Base) (*attach.Adapter, error) {
		return lycoris.NewLoHa(b, method.LoHa{Placement: method.Placement{Seed: 3}, Rank: 3})
	}},
	{"lokr", func(b *attach.Base) (*attach.Adapter, error) {
		return lycoris.NewLoKr(b, method.LoKr{Placement: method.Placement{Seed: 3}, Rank: 3, Alpha: 24})
	}},
	{"lokr of two products", func(b *attach.Base) (*attach.Adapter, error) {
		return lycoris.NewLoKr(b, method.LoKr{Placement: method.Placement{Seed: 3}, Rank: 1, DecomposeBoth: true,
			Factor: 4})
	}},
	{"prompt-tuning, sampled", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPromptTuning(b, method.PromptTuning{VirtualTokens: 4, Seed: 3})
	}},
	{"prompt-tuning, random", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPromptTuning(b, method.PromptTuning{VirtualTokens: 3, Init: method.PromptInitRandom, Seed: 3})
	}},
	{"vera", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewVeRA(b, method.VeRA{Rank: 16, Dropout: 0.1})
	}},
	{"oft", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewOFT(b, method.OFT{BlockSize: 8})
	}},
	{"oft, exact, one block for all", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewOFT(b, method.OFT{BlockSize: 16, Exact: true, Share: true})
	}},
	{"prefix-tuning, sampled", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPrefixTuning(b, method.PrefixTuning{PromptTuning: method.PromptTuning{VirtualTokens: 4,
			Seed: 3}})
	}},
	{"prefix-tuning, through a network", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPrefixTuning(b, method.PrefixTuning{PromptTuning: method.PromptTuning{VirtualTokens: 4,
			Seed: 3}, Projection: true, EncoderHidden: 8})
	}},
	{"adalora", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewAdaLoRA(b, method.AdaLoRA{Placement: method.Placement{Seed: 3}, Rank: 2, StartRank: 4,
			Alpha: 200, Dropout: 0.1})
	}},
	{"p-tuning, LSTM", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPTuning(b, method.PTuning{VirtualTokens: 4, Hidden: 8, Dropout: 0.1, Seed: 3})
	}},
	{"p-tuning, MLP", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPTuning(b, method.PTuning{VirtualTokens: 4, Hidden: 16, Encoder: method.EncoderMLP, Seed: 3})
	}},
	{"p-tuning-v2, hidden", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPTuningV2(b, method.PTuningV2{PromptTuning: method.PromptTuning{VirtualTokens: 4, Seed: 3}})
	}},
	{"p-tuning-v2, keys and values", func(b *attach.Base) (*attach.Adapter, error) {
		return virtual.NewPTuningV2(b, method.PTuningV2{PromptTuning: method.PromptTuning{VirtualTokens: 4, Seed: 3},
			Form: method.FormKV})
	}},
	{"dora", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, method.LoRA{Rank: 4, DoRA: true, Seed: 3})
	}},
	{"dora with dropout", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, method.LoRA{Rank: 4, DoRA: true, Dropout: 0.1, Seed: 3})
	}},
	{"pissa", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, method.LoRA{Rank: 4, Init: method.InitPiSSA,
			Targets: []string{"all-linear", "lm_head"}, Seed: 3})
	}},
	{"olora", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, method.LoRA{Rank: 4, Init: method.InitOLoRA, RSLoRA: true, Seed: 3})
	}},
	{"lora at both ends", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, method.LoRA{Rank: 4, Targets: []string{"q_proj", "embed_tokens", "lm_head"}, Seed: 3})
	}},
	{"lora and whole tensors", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, method.LoRA{Rank: 4, Norms: true, Save: []string{"lm_head", "embed_tokens"}, Seed: 3})
	}},
	{"lora and tokens", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewLoRA(b, method.LoRA{Rank: 4, TokenIDs: []int32{9, 4, 20}, Seed: 3})
	}},
	{"adapter, parallel", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewBottleneck(b, method.Bottleneck{Seed: 3, Bottleneck: 8})
	}},
	{"adapter, parallel to both, gated", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewBottleneck(b, method.Bottleneck{Seed: 3, Bottleneck: 8, Activation: "swiglu",
			Parts: []string{"attention", "ffn"}})
	}},
	{"adapter, parallel to the stream", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewBottleneck(b, method.Bottleneck{Seed: 3, Bottleneck: 8, Activation: "relu", Scale: 0.5,
			Input: method.InputStream, Layers: "1"})
	}},
	{"adapter, serial-houlsby", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewBottleneck(b, method.Bottleneck{Seed: 3, Bottleneck: 8, Placement: method.SerialHoulsby,
			Activation: "gelu"})
	}},
	{"adapter, serial-pfeiffer", func(b *attach.Base) (*attach.Adapter, error) {
		return methods.NewBottleneck(b, method.Bottleneck{Seed: 3, Bottleneck: 8, Placement: method.SerialPfeiffer,
			Parts: []string{"attention", "ffn"}})
	}},
}

// Stir changes every trained value of an adapter a little.
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

// Over float32, where next to nothing is rounded, quantization-aware adapters pass the tests that hold for all methods.
func init() {
	for i, c := range QuantizedCases {
		if i%2 == 0 && c.Name != "dora" { // whose norms, which count as constants, change with the blocks
			MethodCases = append(MethodCases,
				MethodCase{Name: c.Name + " quantized", New: func(b *attach.Base) (*attach.Adapter, error) {
					a, err := c.New(b)
					if err == nil {
						err = a.TrainQuantized(b, method.Quantized{Seed: 3})
					}
					return a, err
				}})
		}
	}
}
