package arch

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/store"
)

// FuzzReadValues reads arbitrary fields of a config.json.
func FuzzReadValues(f *testing.F) {
	for _, seed := range []string{
		`{"model_type":"llama","hidden_size":64,"intermediate_size":128,"num_attention_heads":4,"num_hidden_layers":2,` +
			`"vocab_size":256,"rms_norm_eps":1e-5,"rope_scaling":{"rope_type":"llama3","factor":8}}`,
		`{"model_type":"gemma3","text_config":{"hidden_size":64,"num_hidden_layers":1,"sliding_window":16}}`,
		`{"model_type":"gpt2","n_embd":64,"n_head":4,"n_layer":2,"vocab_size":256,"n_positions":128}`,
		`{"model_type":"qwen3_5_moe","layer_types":["linear_attention"],"num_experts":4}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var config map[string]any
		if json.Unmarshal(text, &config) != nil {
			return
		}
		m, err := ReadValues(config)
		if err == nil && m.Arch == nil {
			t.Fatalf("%s: neither an architecture nor an error", text)
		}
	})
}

// FuzzReadGGUF reads the model that arbitrary metadata and tensors describe.
func FuzzReadGGUF(f *testing.F) {
	for _, name := range []string{"llama", "gemma3", "gpt2", "qwen2moe", "mamba"} {
		meta := new(gguf.Metadata)
		for key, value := range map[string]any{"general.architecture": name, name + ".block_count": uint32(1),
			name + ".embedding_length": uint32(32), name + ".attention.head_count": uint32(2),
			name + ".feed_forward_length": uint32(64), name + ".context_length": uint32(128),
			name + ".attention.layer_norm_rms_epsilon": float32(1e-5)} {
			if err := meta.Set(key, value); err != nil {
				f.Fatal(err)
			}
		}
		var b bytes.Buffer
		tensors := []gguf.Tensor{{Name: "token_embd.weight", Shape: []int64{32, 2}, Type: gguf.F16}}
		w, err := gguf.NewWriter(&b, meta, tensors)
		if err != nil {
			f.Fatal(err)
		}
		if err := w.WriteTensor("token_embd.weight", make([]byte, 128)); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := gguf.Parse(data)
		if err != nil {
			return
		}
		m, err := Read(store.OfGGUF(g))
		if err == nil && m.Arch == nil {
			t.Fatal("neither an architecture nor an error")
		}
	})
}
