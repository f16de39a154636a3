package peft

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/dataset"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/quant"
	"github.com/peftconv/peftconv/safetensors"
)

// tinyModel describes a small random llama that tests write as a GGUF file or as a Hugging Face directory.
type tinyModel struct {
	width, heads, keyHeads, ffn, layers int

	typeOf func(name string) gguf.Type         // of a matrix; nil: F32
	edit   func(name string, values []float32) // changes a matrix before it is written
	tied   bool
	vocab  int // 0: that of tinyVocab
}

// tiny is 2 layers of 32 in float32; heads of 8.
var tiny = tinyModel{width: 32, heads: 4, keyHeads: 2, ffn: 48, layers: 2}

// tinyK is 2 layers of 256 with the linear maps in the K types.
var tinyK = tinyModel{width: 256, heads: 4, keyHeads: 2, ffn: 512, layers: 2, typeOf: func(name string) gguf.Type {
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
	gguf, hf   string
	rows, cols int
	values     []float32
	heads      int // > 0: GGUF stores its rows permuted
}

// matrices are all weights of the model in the order of a GGUF file, with rows in Hugging Face order. vectors (norms)
// have one row.
func (m tinyModel) matrices() []matrix {
	headDim := m.width / m.heads
	list := []matrix{{gguf: "token_embd.weight", hf: "model.embed_tokens.weight", rows: m.tokens(), cols: m.width}}
	for i := range m.layers {
		b, h := fmt.Sprintf("blk.%d.", i), fmt.Sprintf("model.layers.%d.", i)
		list = append(list,
			matrix{gguf: b + "attn_norm.weight", hf: h + "input_layernorm.weight", rows: 1, cols: m.width},
			matrix{gguf: b + "attn_q.weight", hf: h + "self_attn.q_proj.weight", rows: m.width, cols: m.width, heads: m.heads},
			matrix{gguf: b + "attn_k.weight", hf: h + "self_attn.k_proj.weight", rows: m.keyHeads * headDim, cols: m.width, heads: m.keyHeads},
			matrix{gguf: b + "attn_v.weight", hf: h + "self_attn.v_proj.weight", rows: m.keyHeads * headDim, cols: m.width},
			matrix{gguf: b + "attn_output.weight", hf: h + "self_attn.o_proj.weight", rows: m.width, cols: m.width},
			matrix{gguf: b + "ffn_norm.weight", hf: h + "post_attention_layernorm.weight", rows: 1, cols: m.width},
			matrix{gguf: b + "ffn_gate.weight", hf: h + "mlp.gate_proj.weight", rows: m.ffn, cols: m.width},
			matrix{gguf: b + "ffn_up.weight", hf: h + "mlp.up_proj.weight", rows: m.ffn, cols: m.width},
			matrix{gguf: b + "ffn_down.weight", hf: h + "mlp.down_proj.weight", rows: m.width, cols: m.ffn})
	}
	list = append(list, matrix{gguf: "output_norm.weight", hf: "model.norm.weight", rows: 1, cols: m.width})
	if !m.tied {
		list = append(list, matrix{gguf: "output.weight", hf: "lm_head.weight", rows: m.tokens(), cols: m.width})
	}
	for i := range list {
		m.fill(&list[i])
	}
	return list
}

// tokens is the size of the vocabulary.
func (m tinyModel) tokens() int {
	tokens, _, _ := tinyVocab()
	return max(m.vocab, len(tokens))
}

// fill makes a weight's values.
func (m tinyModel) fill(w *matrix) {
	w.values = make([]float32, w.rows*w.cols)
	if w.rows == 1 {
		for i := range w.values {
			w.values[i] = 1 + float32(i%5)/20
		}
	} else {
		prng.NewRandom(99, w.hf).Normal(w.values, 1.5/math.Sqrt(float64(w.cols)))
	}
	if m.edit != nil {
		m.edit(w.gguf, w.values)
	}
}

// permuted is a copy with rows as GGUF stores them.
func (w *matrix) permuted() []float32 {
	src := []attach.Param{{Shape: []int{w.rows, w.cols}, Data: w.values}}
	dst := attach.Views(src, make([]float32, len(w.values)))
	if w.heads > 0 {
		attach.ToBase(dst, src, []attach.Permutation{{Param: 0, Heads: w.heads}})
	} else {
		copy(dst[0].Data, w.values)
	}
	return dst[0].Data
}

// metadata is that of the GGUF file.
func (m tinyModel) metadata() *gguf.Metadata {
	tokens, scores, kinds := tinyVocab()
	for len(tokens) < m.tokens() {
		tokens, scores, kinds = append(tokens, fmt.Sprintf("<spare_%d>", len(tokens))), append(scores, -1e4), append(kinds, 5)
	}
	meta := &gguf.Metadata{}
	for _, entry := range []struct {
		key   string
		value any
	}{
		{"general.architecture", "llama"}, {"general.name", "tiny"}, {"general.file_type", uint32(15)},
		{"llama.block_count", uint32(m.layers)}, {"llama.context_length", uint32(64)}, {"llama.embedding_length", uint32(m.width)},
		{"llama.feed_forward_length", uint32(m.ffn)}, {"llama.attention.head_count", uint32(m.heads)},
		{"llama.attention.head_count_kv", uint32(m.keyHeads)}, {"llama.attention.layer_norm_rms_epsilon", float32(1e-5)},
		{"tokenizer.ggml.model", "llama"}, {"tokenizer.ggml.tokens", tokens}, {"tokenizer.ggml.scores", scores},
		{"tokenizer.ggml.token_type", kinds}, {"tokenizer.ggml.bos_token_id", uint32(1)}, {"tokenizer.ggml.eos_token_id", uint32(2)},
	} {
		if err := meta.Set(entry.key, entry.value); err != nil {
			panic(err)
		}
	}
	return meta
}

// bytes is the GGUF file.
func (m tinyModel) bytes() []byte {
	var table []gguf.Tensor
	list := m.matrices()
	for _, w := range list {
		entry := gguf.Tensor{Name: w.gguf, Shape: []int64{int64(w.cols), int64(w.rows)}}
		if w.rows == 1 {
			entry.Shape = entry.Shape[:1]
		} else if m.typeOf != nil {
			entry.Type = m.typeOf(w.gguf)
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
		quant.Quantize(table[i].Type, data, mat.permuted(), mat.cols, nil)
		if err := w.WriteTensor(table[i].Name, data); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// writeGGUF writes the GGUF file into a directory of the test.
func (m tinyModel) writeGGUF(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tiny.gguf")
	if err := os.WriteFile(path, m.bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// tinyKBytes is the GGUF file of tinyK; making it takes a while.
var tinyKBytes = sync.OnceValue(func() []byte { return tinyK.bytes() })

// writeTinyK writes the GGUF file of tinyK into a directory of the test.
func writeTinyK(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tiny.gguf")
	if err := os.WriteFile(path, tinyKBytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// writeHF writes a Hugging Face directory of so many shards.
func (m tinyModel) writeHF(t testing.TB, dtype gguf.Type, shards int) string {
	t.Helper()
	dir := t.TempDir()
	config := map[string]any{
		"model_type": "llama", "hidden_size": m.width, "intermediate_size": m.ffn, "num_hidden_layers": m.layers,
		"num_attention_heads": m.heads, "num_key_value_heads": m.keyHeads, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
		"vocab_size": m.tokens(), "hidden_act": "silu", "tie_word_embeddings": m.tied,
	}
	writeJSON(t, filepath.Join(dir, "config.json"), config)
	items := make([][]safetensors.Item, shards)
	index := map[string]string{}
	for i, w := range m.matrices() {
		data := make([]byte, len(w.values)*dtype.BlockSize())
		quant.Quantize(dtype, data, w.values, w.cols, nil)
		shape := []int64{int64(w.rows), int64(w.cols)}
		if w.rows == 1 {
			shape = shape[1:]
		}
		items[i%shards] = append(items[i%shards], safetensors.Item{Name: w.hf, DType: model.Dtypes[dtype], Shape: shape, Data: data})
		index[w.hf] = shardName(i%shards, shards)
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
		writeJSON(t, filepath.Join(dir, attach.IndexFile), map[string]any{"metadata": map[string]any{"total_size": 1}, "weight_map": index})
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

// openBase opens a base for the length of the test.
func openBase(t testing.TB, path string) *attach.Base {
	t.Helper()
	b, err := attach.OpenBase(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// trained makes a LoRA whose B matrices are not zero, so that it changes something.
func trained(t testing.TB, b *attach.Base, opt methods.LoRAOptions) *attach.Adapter {
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

// tinyData is a set of n random sequences of 6 to 16 tokens; every third has loss on its second half only.
func tinyData(n int, seed uint64) *dataset.Set {
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

// packed is a batch of all examples of a set.
func packed(set *dataset.Set) *batch.Batch {
	b := &batch.Batch{}
	for _, e := range set.Examples {
		b.Append(e.IDs, e.Loss)
	}
	return b
}

// fileSize reads a file.
func fileBytes(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// relative is ‖a-b‖/‖b‖.
func relative(a, b []float32) float64 {
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

// merge merges into a new file or directory of the test.
func merge(t *testing.T, b *attach.Base, opt MergeOptions, adapters ...attach.Scaled) (string, *MergeReport) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "merged")
	report, err := Merge(context.Background(), b, adapters, out, opt)
	if err != nil {
		t.Fatal(err)
	}
	return out, report
}
