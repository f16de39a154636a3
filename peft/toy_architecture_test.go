package peft_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/modeltest"
	"github.com/peftconv/peftconv/internal/pefttest"
)

// pebble is an architecture with names of its own and the embedding table as output head. Its queries and keys are
// rotated in halves and not permuted.
func init() {
	layer := func(role arch.Role, name string, shape ...arch.Dim) arch.Tensor {
		return arch.Tensor{
			Role: role, GGUF: "stone.%d." + name + ".weight", HF: "stones.%d." + name + ".weight", Shape: shape,
			Bias: role.Kind() == arch.Linear,
		}
	}
	arch.Register(&arch.Arch{
		Name: "pebble",
		Spec: func(f *arch.Fields) arch.Spec {
			s := arch.Spec{
				Layers: f.Int("block_count", ""), Width: f.Int("width", ""), Context: f.Int("context_length", ""),
				NormEps: 1e-5, Tied: true,
			}
			s.Layer = arch.Layer{
				FFN: f.Int("inner", ""), QueryHeads: 4, KeyHeads: 4, HeadDim: s.Width / 4,
				Rope: arch.Rope{Dim: s.Width / 4, Base: 5000, Scale: 1, Neox: true},
			}
			return s
		},
		Tensors: []arch.Tensor{
			{Role: arch.TokenEmbedding, GGUF: "words", HF: "words.weight", Shape: []arch.Dim{arch.DimVocab, arch.DimWidth}},
			{Role: arch.OutputNorm, GGUF: "last", HF: "last.weight", Shape: []arch.Dim{arch.DimWidth}},
			layer(arch.AttentionNorm, "before", arch.DimWidth),
			layer(arch.Query, "query", arch.DimQuery, arch.DimWidth),
			layer(arch.Key, "key", arch.DimKey, arch.DimWidth),
			layer(arch.Value, "value", arch.DimKey, arch.DimWidth),
			layer(arch.AttentionOutput, "mix", arch.DimWidth, arch.DimQuery),
			layer(arch.FFNNorm, "between", arch.DimWidth),
			layer(arch.Gate, "open", arch.DimFFN, arch.DimWidth),
			layer(arch.Up, "wide", arch.DimFFN, arch.DimWidth),
			layer(arch.Down, "thin", arch.DimWidth, arch.DimFFN),
		},
	})
}

// pebbleNames are pebble's names of a llama's tensors and fields.
var pebbleNames = strings.NewReplacer("blk.", "stone.", "token_embd.weight", "words", "output_norm.weight", "last",
	"attn_norm", "before", "attn_q", "query", "attn_k", "key", "attn_v", "value", "attn_output", "mix", "ffn_norm",
	"between",
	"ffn_gate", "open", "ffn_up", "wide", "ffn_down", "thin",
	"llama.embedding_length", "pebble.width", "llama.feed_forward_length",
	"pebble.inner", "llama.", "pebble.")

// writePebble writes a small random model of the architecture: a llama's blocks under other names.
func writePebble(t *testing.T, path string) {
	t.Helper()
	llama := pefttest.BlocksIn(gguf.Q8_0)
	llama.KeyHeads, llama.Tied = llama.Heads, true
	from, err := gguf.Open(llama.WriteGGUF(t))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	meta, tensors := &gguf.Metadata{}, make([]gguf.Tensor, len(from.Tensors))
	for key, value := range from.Meta.All() {
		if key == "general.architecture" {
			value, _ = gguf.ValueOf("pebble")
		}
		if err := meta.Set(pebbleNames.Replace(key), value); err != nil {
			t.Fatal(err)
		}
	}
	if err := meta.Set("general.quantization_version", uint32(2)); err != nil {
		t.Fatal(err)
	}
	data := map[string][]byte{}
	for i, tensor := range from.Tensors {
		tensors[i] = gguf.Tensor{Name: pebbleNames.Replace(tensor.Name), Shape: tensor.Shape, Type: tensor.Type}
		data[tensors[i].Name] = tensor.Bytes()
	}
	modeltest.WriteGGUF(t, path, gguf.Format{}, meta, tensors, func(name string, dst []byte) { copy(dst, data[name]) })
	if known := fmt.Sprint(arch.Names()); !strings.Contains(known, "pebble") {
		t.Fatalf("the architectures are %s", known)
	}
}
