package pefttest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/dataset"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/internal/tokenizer"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/quant"
	"github.com/peftconv/peftconv/safetensors"
)

// TinyModel describes a small random llama that tests write as a GGUF file or as a Hugging Face directory.
type TinyModel struct {
	Width, Heads, KeyHeads, Ffn, Layers int

	TypeOf func(name string) gguf.Type         // of a matrix; nil: F32
	Edit   func(name string, values []float32) // changes a matrix before it is written
	Tied   bool
	Vocab  int // 0: that of tinyVocab
}

// Tiny is 2 layers of 32 in float32; heads of 8.
var Tiny = TinyModel{Width: 32, Heads: 4, KeyHeads: 2, Ffn: 48, Layers: 2}

// TinyK is 2 layers of 256 with the linear maps in the K types.
var TinyK = TinyModel{Width: 256, Heads: 4, KeyHeads: 2, Ffn: 512, Layers: 2, TypeOf: func(name string) gguf.Type {
	switch {
	case strings.HasSuffix(name, "attn_v.weight"):
		return gguf.Q6_K
	case strings.HasPrefix(name, "blk."):
		return gguf.Q4_K
	}
	return gguf.Q8_0
}}

// tinyVocab is a SentencePiece vocabulary: three special tokens, all bytes, a space and the letters.
func tinyVocab() (tokens []string, scores []float32, kinds []int32) {
	add := func(token string, kind int32) {
		tokens = append(tokens, token)
		scores = append(scores, -float32(len(tokens)))
		kinds = append(kinds, kind)
	}
	add("<unk>", 2)
	add("<s>", 3)
	add("</s>", 3)
	for i := range 256 {
		add(fmt.Sprintf("<0x%02X>", i), 6)
	}
	for _, piece := range strings.Split("▁ a b c d e f g h i j k l m n o p q r s t u v w x y z th he", " ") {
		add(piece, 1)
	}
	return tokens, scores, kinds
}

// matrix is one weight of a model: rows, columns and values.
type matrix struct {
	GGUF, HF   string
	Rows, cols int
	Values     []float32
	heads      int // > 0: GGUF stores its rows permuted
}

// Matrices are all weights of the model in the order of a GGUF file, with rows in Hugging Face order. vectors (norms)
// have one row.
func (m TinyModel) Matrices() []matrix {
	headDim := m.Width / m.Heads
	list := []matrix{{GGUF: "token_embd.weight", HF: "model.embed_tokens.weight", Rows: m.Tokens(), cols: m.Width}}
	for i := range m.Layers {
		b, h := fmt.Sprintf("blk.%d.", i), fmt.Sprintf("model.layers.%d.", i)
		list = append(list,
			matrix{GGUF: b + "attn_norm.weight", HF: h + "input_layernorm.weight", Rows: 1, cols: m.Width},
			matrix{GGUF: b + "attn_q.weight", HF: h + "self_attn.q_proj.weight", Rows: m.Width, cols: m.Width, heads: m.Heads},
			matrix{GGUF: b + "attn_k.weight", HF: h + "self_attn.k_proj.weight", Rows: m.KeyHeads * headDim, cols: m.Width,
				heads: m.KeyHeads},
			matrix{GGUF: b + "attn_v.weight", HF: h + "self_attn.v_proj.weight", Rows: m.KeyHeads * headDim, cols: m.Width},
			matrix{GGUF: b + "attn_output.weight", HF: h + "self_attn.o_proj.weight", Rows: m.Width, cols: m.Width},
			matrix{GGUF: b + "ffn_norm.weight", HF: h + "post_attention_layernorm.weight", Rows: 1, cols: m.Width},
			matrix{GGUF: b + "ffn_gate.weight", HF: h + "mlp.gate_proj.weight", Rows: m.Ffn, cols: m.Width},
			matrix{GGUF: b + "ffn_up.weight", HF: h + "mlp.up_proj.weight", Rows: m.Ffn, cols: m.Width},
			matrix{GGUF: b + "ffn_down.weight", HF: h + "mlp.down_proj.weight", Rows: m.Width, cols: m.Ffn})
	}
	list = append(list, matrix{GGUF: "output_norm.weight", HF: "model.norm.weight", Rows: 1, cols: m.Width})
	if !m.Tied {
		list = append(list, matrix{GGUF: "output.weight", HF: "lm_head.weight", Rows: m.Tokens(), cols: m.Width})
	}
	for i := range list {
		m.fill(&list[i])
	}
	return list
}

// Tokens is the size of the vocabulary.
func (m TinyModel) Tokens() int {
	tokens, _, _ := tinyVocab()
	return max(m.Vocab, len(tokens))
}

// fill makes a weight's values.
func (m TinyModel) fill(w *matrix) {
	w.Values = make([]float32, w.Rows*w.cols)
	if w.Rows == 1 {
		for i := range w.Values {
			w.Values[i] = 1 + float32(i%5)/20
		}
	} else {
		prng.NewRandom(99, w.HF).Normal(w.Values, 1.5/math.Sqrt(float64(w.cols)))
	}
	if m.Edit != nil {
		m.Edit(w.GGUF, w.Values)
	}
}

// permuted is the values with rows as GGUF stores them.
func (w *matrix) permuted() []float32 {
	if w.heads == 0 {
		return w.Values
	}
	out, half := make([]float32, 0, len(w.Values)), w.Rows/w.heads/2
	for head := range w.heads {
		for i := range half {
			for _, r := range []int{2*head*half + i, (2*head+1)*half + i} { // that turn together
				out = append(out, w.Values[r*w.cols:(r+1)*w.cols]...)
			}
		}
	}
	return out
}

// metadata is that of the GGUF file.
func (m TinyModel) metadata() *gguf.Metadata {
	tokens, scores, kinds := tinyVocab()
	for len(tokens) < m.Tokens() {
		tokens, scores, kinds = append(tokens, fmt.Sprintf("<spare_%d>", len(tokens))), append(scores, -1e4), append(kinds, 5)
	}
	meta := &gguf.Metadata{}
	for _, entry := range []struct {
		key   string
		value any
	}{
		{"general.architecture", arch.Llama}, {"general.name", "tiny"}, {"general.file_type", uint32(15)},
		{arch.Llama + ".block_count", uint32(m.Layers)}, {arch.Llama + ".context_length", uint32(64)},
		{arch.Llama + ".embedding_length", uint32(m.Width)},
		{arch.Llama + ".feed_forward_length", uint32(m.Ffn)}, {arch.Llama + ".attention.head_count", uint32(m.Heads)},
		{arch.Llama + ".attention.head_count_kv", uint32(m.KeyHeads)},
		{arch.Llama + ".attention.layer_norm_rms_epsilon", float32(1e-5)},
		{"tokenizer.ggml.model", tokenizer.ScoredBPE}, {"tokenizer.ggml.tokens", tokens},
		{"tokenizer.ggml.scores", scores},
		{"tokenizer.ggml.token_type", kinds}, {"tokenizer.ggml.bos_token_id", uint32(1)},
		{"tokenizer.ggml.eos_token_id", uint32(2)},
	} {
		if err := meta.Set(entry.key, entry.value); err != nil {
			panic(err)
		}
	}
	return meta
}

// bytes is the GGUF file.
func (m TinyModel) bytes() []byte {
	var table []gguf.Tensor
	list := m.Matrices()
	for _, w := range list {
		entry := gguf.Tensor{Name: w.GGUF, Shape: []int64{int64(w.cols), int64(w.Rows)}}
		if w.Rows == 1 {
			entry.Shape = entry.Shape[:1]
		} else if m.TypeOf != nil {
			entry.Type = m.TypeOf(w.GGUF)
		}
		table = append(table, entry)
	}
	var out bytes.Buffer
	w, err := gguf.NewWriter(&out, m.metadata(), table)
	if err != nil {
		panic(err)
	}
	for i, mat := range list {
		data := make([]byte, table[i].Size())
		var importance []float32
		if quant.NeedsImportance(table[i].Type) {
			importance = slices.Repeat([]float32{1}, mat.cols)
		}
		quant.Quantize(table[i].Type, data, mat.permuted(), mat.cols, importance)
		if err := w.WriteTensor(table[i].Name, data); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// WriteGGUF writes the GGUF file into a directory of the test.
func (m TinyModel) WriteGGUF(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tiny.gguf")
	if err := os.WriteFile(path, m.bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// tinyKBytes is the GGUF file of TinyK; making it takes a while.
var tinyKBytes = sync.OnceValue(func() []byte { return TinyK.bytes() })

// WriteTinyK writes the GGUF file of TinyK into a directory of the test.
func WriteTinyK(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tiny.gguf")
	if err := os.WriteFile(path, tinyKBytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// WriteHF writes a Hugging Face directory of several shards.
func (m TinyModel) WriteHF(t testing.TB, dtype gguf.Type, shards int) string {
	t.Helper()
	dir := t.TempDir()
	config := map[string]any{
		"model_type": arch.Llama, "hidden_size": m.Width, "intermediate_size": m.Ffn, "num_hidden_layers": m.Layers,
		"num_attention_heads": m.Heads, "num_key_value_heads": m.KeyHeads, "max_position_embeddings": 64,
		"rms_norm_eps": 1e-5, "vocab_size": m.Tokens(), "hidden_act": "silu", "tie_word_embeddings": m.Tied,
	}
	writeJSON(t, filepath.Join(dir, "config.json"), config)
	items := make([][]safetensors.Item, shards)
	index := map[string]string{}
	for i, w := range m.Matrices() {
		data := make([]byte, len(w.Values)*dtype.BlockSize())
		quant.Quantize(dtype, data, w.Values, w.cols, nil)
		shape := []int64{int64(w.Rows), int64(w.cols)}
		if w.Rows == 1 {
			shape = shape[1:]
		}
		items[i%shards] = append(items[i%shards],
			safetensors.Item{Name: w.HF, DType: model.Dtypes[dtype], Shape: shape, Data: data})
		index[w.HF] = shardName(i%shards, shards)
	}
	for i := range items {
		f, err := os.Create(filepath.Join(dir, shardName(i, shards)))
		if err != nil {
			t.Fatal(err)
		}
		if err := safetensors.Write(f, map[string]string{"format": "pt"}, items[i]); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if shards > 1 {
		writeJSON(t, filepath.Join(dir, attach.IndexFile),
			map[string]any{"metadata": map[string]any{"total_size": 1}, "weight_map": index})
	}
	return dir
}

func shardName(i, shards int) string {
	if shards == 1 {
		return "model.safetensors"
	}
	return fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, shards)
}

func writeJSON(t testing.TB, path string, v any) {
	t.Helper()
	data, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(path, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// OpenBase opens a base for the length of the test.
func OpenBase(t testing.TB, path string) *attach.Base {
	t.Helper()
	b, err := attach.OpenBase(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// Trained makes a LoRA whose B matrices are not zero, so that it changes something.
func Trained(t testing.TB, b *attach.Base, opt method.LoRA) *attach.Adapter {
	t.Helper()
	a, err := methods.NewLoRA(b, opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range a.Tensors {
		if strings.Contains(p.Name, "lora_B") {
			prng.NewRandom(opt.Seed+1, p.Name).Normal(p.Data, 0.05)
		}
	}
	return a
}

// TinyData is a set of n random sequences of 6 to 16 tokens; every third has loss on its second half only.
func TinyData(n int, seed uint64) *dataset.Set {
	tokens, _, _ := tinyVocab()
	r := prng.NewRandom(seed, "data")
	set := &dataset.Set{}
	for i := range n {
		ids := make([]int32, 6+r.Next()%11)
		for j := range ids {
			ids[j] = int32(r.Next() % uint64(len(tokens)/8))
		}
		e := dataset.Example{IDs: ids}
		if i%3 == 2 {
			e.Loss = make([]bool, len(ids))
			for j := len(ids) / 2; j < len(ids); j++ {
				e.Loss[j] = true
			}
		}
		set.Examples = append(set.Examples, e)
	}
	return set
}

// Packed is a batch of all examples of a set.
func Packed(set *dataset.Set) *batch.Batch {
	b := &batch.Batch{}
	for _, e := range set.Examples {
		b.Append(e.IDs, e.Loss)
	}
	return b
}

// FileBytes is the content of a file.
func FileBytes(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Relative is ‖a-b‖/‖b‖.
func Relative(a, b []float32) float64 {
	var diff, norm float64
	for i := range b {
		d := float64(a[i]) - float64(b[i])
		diff += d * d
		norm += float64(b[i]) * float64(b[i])
	}
	if norm == 0 {
		return math.Sqrt(diff)
	}
	return math.Sqrt(diff / norm)
}
