package convert

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/safetensors"
)

// smallDir is a Hugging Face directory of a small model, as it can be changed before it is written.
type smallDir struct {
	config  map[string]any
	tensors map[string]safetensors.Item
	files   map[string]string
	shards  int
}

// newDir is a model of a layer with random weights in BF16 and a vocabulary of bytes.
func newDir() *smallDir {
	const width, heads, keyHeads, inner, vocab = 64, 4, 2, 96, 256
	d := &smallDir{tensors: map[string]safetensors.Item{}, shards: 1}
	d.config = map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_size": width,
		"intermediate_size": inner, "num_hidden_layers": 1, "num_attention_heads": heads, "num_key_value_heads": keyHeads,
		"vocab_size": vocab, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000,
	}
	r := rand.New(rand.NewPCG(1, 2))
	add := func(name string, shape ...int64) {
		n := int64(1)
		for _, s := range shape {
			n *= s
		}
		data := make([]byte, 2*n)
		for i := range n {
			binary.LittleEndian.PutUint16(data[2*i:], uint16(math.Float32bits(float32(r.NormFloat64()*0.1))>>16))
		}
		d.tensors[name] = safetensors.Item{Name: name, DType: safetensors.BF16, Shape: shape, Data: data}
	}
	add("model.embed_tokens.weight", vocab, width)
	add("lm_head.weight", vocab, width)
	add("model.norm.weight", width)
	const in = "model.layers.0."
	for _, norm := range []string{"input_layernorm", "post_attention_layernorm"} {
		add(in+norm+".weight", width)
	}
	add(in+"self_attn.q_proj.weight", width, width)
	add(in+"self_attn.k_proj.weight", width/2, width)
	add(in+"self_attn.v_proj.weight", width/2, width)
	add(in+"self_attn.o_proj.weight", width, width)
	add(in+"mlp.gate_proj.weight", inner, width)
	add(in+"mlp.up_proj.weight", inner, width)
	add(in+"mlp.down_proj.weight", width, inner)
	d.files = map[string]string{"tokenizer.json": byteTokenizer()}
	return d
}

// byteTokenizer is a tokenizer.json of the 256 bytes.
func byteTokenizer() string {
	vocab := map[string]int{}
	next := rune(256)
	for b := range 256 {
		r := rune(b)
		if !(33 <= b && b <= 126 || 161 <= b && b <= 172 || 174 <= b) {
			r, next = next, next+1
		}
		vocab[string(r)] = b
	}
	text, err := json.Marshal(map[string]any{
		"model":         map[string]any{"type": "BPE", "vocab": vocab, "merges": []string{}},
		"pre_tokenizer": map[string]any{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
		"decoder":       map[string]any{"type": "ByteLevel"},
	})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// write writes the directory and gives its path.
func (d *smallDir) write(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "Small-0.1M")
	put := func(name string, text []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(d.config)
	if err != nil {
		t.Fatal(err)
	}
	put("config.json", config)
	for name, text := range d.files {
		put(name, []byte(text))
	}
	names := slices.Sorted(maps.Keys(d.tensors))
	items, where := make([][]safetensors.Item, d.shards), map[string]string{}
	for i, name := range names {
		n := i * d.shards / len(names)
		items[n] = append(items[n], d.tensors[name])
		where[name] = d.shard(n)
	}
	for i := range items {
		var file strings.Builder
		if err := safetensors.Write(&file, nil, items[i]); err != nil {
			t.Fatal(err)
		}
		put(d.shard(i), []byte(file.String()))
	}
	if d.shards > 1 {
		index, err := json.Marshal(map[string]any{"weight_map": where})
		if err != nil {
			t.Fatal(err)
		}
		put("model.safetensors.index.json", index)
	}
	return dir
}

// shard is the name of a file of tensors.
func (d *smallDir) shard(i int) string {
	if d.shards == 1 {
		return "model.safetensors"
	}
	return fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, d.shards)
}

// options are those for a vocabulary of bytes.
func options(typ string) Options { return Options{Type: typ, PreTokenizer: "gpt-2"} }

// convertTo converts a directory to a file in a new directory and gives its path.
func convertTo(t *testing.T, dir string, opt Options) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out.gguf")
	p, err := NewPlan(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Write(t.Context(), out, nil); err != nil {
		t.Fatal(err)
	}
	return out
}

// opened opens a GGUF file for the time of a test.
func opened(t *testing.T, path string) *gguf.File {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
