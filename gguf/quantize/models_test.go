package quantize

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/imatrix"
	"github.com/peftconv/peftconv/internal/modeltest"
)

// sample describes a small model, of few rows, whose weights are made by rule: the same on every machine, and the same
// numbers in F32, F16 and BF16.
type sample struct {
	name       string
	arch       string
	layers     int
	heads      int
	keys       int // key heads
	experts    int
	width, ffn int64
	rows       int64 // of the matrices in the layers; 0: 2
	tied       bool
	fused      bool     // query, key and value in one tensor
	norms      []string // of a layer, beside the two that all have
}

// samples are the models whose quantized files are recorded: shapes that make the rules differ.
var samples = []sample{
	{name: "llama", arch: "llama", layers: 8, heads: 8, keys: 4, width: 256, ffn: 512},
	{name: "llama-shared", arch: "llama", layers: 17, heads: 32, keys: 4, width: 256, ffn: 256},
	{name: "qwen2-tied", arch: "qwen2", layers: 9, heads: 8, keys: 2, width: 512, ffn: 256, tied: true},
	{name: "gemma", arch: "gemma", layers: 10, heads: 8, keys: 1, width: 256, ffn: 320, tied: true},
	{name: "mixtral", arch: "llama", layers: 8, heads: 8, keys: 2, experts: 8, width: 256, ffn: 256},
	{name: "odd", arch: "llama", layers: 3, heads: 4, keys: 4, width: 96, ffn: 172},
	{name: "falcon", arch: "falcon", layers: 16, heads: 8, keys: 8, width: 256, ffn: 256, fused: true},
	{name: "gemma2", arch: "gemma2", layers: 10, heads: 8, keys: 4, width: 256, ffn: 512, tied: true,
		norms: []string{"post_attention_norm", "post_ffw_norm"}},
	{name: "gemma3", arch: "gemma3", layers: 9, heads: 4, keys: 1, width: 256, ffn: 320, tied: true,
		norms: []string{"attn_q_norm", "attn_k_norm", "post_attention_norm", "post_ffw_norm"}},
	{name: "large", arch: "llama", layers: 80, heads: 64, keys: 8, width: 256, ffn: 256},
}

func (m sample) metadata(t testing.TB) *gguf.Metadata {
	t.Helper()
	meta := &gguf.Metadata{}
	a := m.arch
	for _, v := range []struct {
		key   string
		value any
	}{
		{"general.architecture", a}, {"general.file_type", uint32(1)}, {"general.name", m.name},
		{a + ".context_length", uint32(128)}, {a + ".embedding_length", uint32(m.width)},
		{a + ".block_count", uint32(m.layers)},
		{a + ".feed_forward_length", uint32(m.ffn)},
		{a + ".attention.head_count", uint32(m.heads)}, {a + ".attention.head_count_kv", uint32(m.keys)},
		{a + ".attention.layer_norm_rms_epsilon", float32(1e-5)}, {a + ".attention.layer_norm_epsilon", float32(1e-5)},
		{a + ".attention.key_length", uint32(32)}, {a + ".attention.value_length", uint32(32)},
		{a + ".rope.dimension_count", uint32(32)},
		{"tokenizer.ggml.tokens", []string{"a", "b", "c", "d"}}, {"nothing", []string{}},
	} {
		if err := meta.Set(v.key, v.value); err != nil {
			t.Fatal(err)
		}
	}
	if m.experts > 0 {
		meta.Set(a+".expert_count", uint32(m.experts))
		meta.Set(a+".expert_used_count", uint32(2))
	}
	return meta
}

// table is the table of tensors with the matrices in a type.
func (m sample) table(typ gguf.Type) []gguf.Tensor {
	var all []gguf.Tensor
	add := func(name string, shape ...int64) {
		t := typ
		if len(shape) == 1 {
			t = gguf.F32
		}
		all = append(all, gguf.Tensor{Name: name, Shape: shape, Type: t})
	}
	add("token_embd.weight", m.width, 4)
	add("output_norm.weight", m.width)
	if !m.tied {
		add("output.weight", m.width, 4)
	}
	for i := range m.layers {
		m.layer(fmt.Sprintf("blk.%d.", i), add)
	}
	return all
}

func (m sample) layer(p string, add func(name string, shape ...int64)) {
	rows := max(m.rows, 2)
	add(p+"attn_norm.weight", m.width)
	if m.fused {
		add(p+"attn_qkv.weight", m.width, 3)
	} else {
		add(p+"attn_q.weight", m.width, rows)
		add(p+"attn_k.weight", m.width, rows)
		add(p+"attn_v.weight", m.width, rows)
		add(p+"attn_v.bias", 2)
	}
	add(p+"attn_output.weight", m.width, rows)
	add(p+"ffn_norm.weight", m.width)
	for _, norm := range m.norms {
		add(p+norm+".weight", m.width)
	}
	if m.experts == 0 {
		add(p+"ffn_gate.weight", m.width, rows)
		add(p+"ffn_up.weight", m.width, rows)
		add(p+"ffn_down.weight", m.ffn, rows)
		return
	}
	n := int64(m.experts)
	add(p+"ffn_gate_inp.weight", m.width, n)
	add(p+"ffn_gate_exps.weight", m.width, rows, n)
	add(p+"ffn_up_exps.weight", m.width, rows, n)
	add(p+"ffn_down_exps.weight", m.ffn, rows, n)
}

// weights are n numbers of about a bell curve, some of them far out, that every type of 16 bits and more holds exactly:
// whole numbers below 128 times a power of two. Nothing in their making is rounded.
func weights(r *rand.Rand, n int64) []float32 {
	out := make([]float32, n)
	for i := range out {
		v := 0
		for range 4 {
			v += r.IntN(33) - 16
		}
		out[i] = float32(v) / 1024
		if r.IntN(64) == 0 {
			out[i] *= 4
		}
	}
	return out
}

// write writes the model's file.
func (m sample) write(t testing.TB, path string, typ gguf.Type) {
	t.Helper()
	r := rand.New(rand.NewPCG(7, uint64(m.layers)))
	modeltest.WriteValues(t, path, m.metadata(t), m.table(typ), func(tensor *gguf.Tensor) []float32 {
		return weights(r, tensor.Elements())
	})
}

// writeImatrix writes an importance matrix for the model, of every other embedding and head.
func (m sample) writeImatrix(t testing.TB, path string) {
	t.Helper()
	writeImatrixOf(t, path, m.table(gguf.F32), uint64(m.layers))
}

// writeImatrixOf writes an importance matrix for the matrices of a model.
func writeImatrixOf(t testing.TB, path string, matrices []gguf.Tensor, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(9, seed))
	meta := &gguf.Metadata{}
	meta.Set("general.type", "imatrix")
	meta.Set("imatrix.datasets", []string{"a text", "another"})
	meta.Set("imatrix.chunk_count", uint32(3))
	meta.Set("imatrix.chunk_size", uint32(512))
	var table []gguf.Tensor
	for _, w := range matrices {
		if len(w.Shape) < 2 {
			continue
		}
		n := dim(&w, 2)
		table = append(table, gguf.Tensor{Name: w.Name + ".in_sum2", Shape: []int64{w.Cols(), n}, Type: gguf.F32},
			gguf.Tensor{Name: w.Name + ".counts", Shape: []int64{1, n}, Type: gguf.F32})
	}
	modeltest.WriteValues(t, path, meta, table, func(tensor *gguf.Tensor) []float32 {
		out := make([]float32, tensor.Elements())
		for i := range out {
			out[i] = float32(r.IntN(64)) // a count may be 0
			if tensor.Shape[0] > 1 {
				out[i] = float32(1+r.IntN(1000)) / 8
			}
		}
		return out
	})
}

// planOf opens a model and plans. The file is closed at the end of the test.
func planOf(t testing.TB, path string, opt Options) (*Plan, error) {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return NewPlan(f, opt)
}

// quantizeFile quantizes a file and gives the bytes of the result.
func quantizeFile(t testing.TB, in string, opt Options) []byte {
	t.Helper()
	p, err := planOf(t, in, opt)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out.gguf")
	if err := p.Write(t.Context(), out, nil); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func fileType(t testing.TB, name string) FileType {
	t.Helper()
	ft, err := ParseFileType(name)
	if err != nil {
		t.Fatal(err)
	}
	return ft
}

// openImatrix reads an importance matrix under the name by which it is to be recorded.
func openImatrix(t testing.TB, path, name string) *imatrix.Matrix {
	t.Helper()
	m, err := imatrix.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	m.Path = name
	return m
}

func fileSize(t testing.TB, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
