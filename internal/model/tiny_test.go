package model

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
)

// tinyFile is what goes into the GGUF of a small random llama model.
type tinyFile struct {
	meta    map[string]any
	keys    []string
	tensors []gguf.Tensor
}

func (f *tinyFile) set(key string, v any) {
	if _, ok := f.meta[key]; !ok {
		f.keys = append(f.keys, key)
	}
	f.meta[key] = v
}

func (f *tinyFile) tensor(name string, shape ...int64) {
	f.tensors = append(f.tensors, gguf.Tensor{Name: name, Shape: shape, Type: gguf.F32})
}

func (f *tinyFile) drop(name string) {
	for i, t := range f.tensors {
		if t.Name == name {
			f.tensors = append(f.tensors[:i:i], f.tensors[i+1:]...)
			return
		}
	}
}

// newTinyFile is 2 layers, 8 wide, 4 heads of 2 with 2 key heads, FFN 12, vocabulary 10, untied.
func newTinyFile() *tinyFile {
	f := &tinyFile{meta: map[string]any{}}
	f.set("general.architecture", "llama")
	for key, v := range map[string]uint32{
		"block_count": 2, "embedding_length": 8, "feed_forward_length": 12, "attention.head_count": 4,
		"attention.head_count_kv": 2, "context_length": 32,
	} {
		f.set("llama."+key, v)
	}
	f.set("llama.attention.layer_norm_rms_epsilon", float32(1e-5))
	f.tensor("token_embd.weight", 8, 10)
	f.tensor("output_norm.weight", 8)
	f.tensor("output.weight", 8, 10)
	for i := range 2 {
		p := fmt.Sprintf("blk.%d.", i)
		f.tensor(p+"attn_norm.weight", 8)
		f.tensor(p+"attn_q.weight", 8, 8)
		f.tensor(p+"attn_k.weight", 8, 4)
		f.tensor(p+"attn_v.weight", 8, 4)
		f.tensor(p+"attn_output.weight", 8, 8)
		f.tensor(p+"ffn_norm.weight", 8)
		f.tensor(p+"ffn_gate.weight", 8, 12)
		f.tensor(p+"ffn_up.weight", 8, 12)
		f.tensor(p+"ffn_down.weight", 12, 8)
	}
	return f
}

// open writes the file with random values and reads it back.
func (f *tinyFile) open(t *testing.T) *gguf.File {
	t.Helper()
	var meta gguf.Metadata
	for _, key := range f.keys {
		if err := meta.Set(key, f.meta[key]); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	w, err := gguf.NewWriter(&out, &meta, f.tensors)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, info := range f.tensors {
		x := make([]float32, info.Elements())
		for i := range x {
			x[i] = float32(rng.NormFloat64()) / 2
			if strings.Contains(info.Name, "norm") {
				x[i] = 1 + x[i]/4
			}
		}
		if err := w.WriteTensor(info.Name, float32Bytes(x)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := gguf.Parse(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func float32Bytes(x []float32) []byte {
	b := make([]byte, 0, 4*len(x))
	for _, v := range x {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

func tinyModel(t *testing.T) *Model {
	t.Helper()
	m, err := FromGGUF(newTinyFile().open(t))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestRefused wants an error that names the trouble for every way in which a file is no model.
func TestRefused(t *testing.T) {
	cases := []struct {
		name   string
		change func(f *tinyFile)
		want   string
	}{
		{"no architecture", func(f *tinyFile) {
			f.set("general.architecture", "rwkv")
		}, `architecture "rwkv" is not supported`},
		{"an adapter", func(f *tinyFile) { f.set("general.type", "adapter") }, `general.type is "adapter"`},
		{"missing tensor", func(f *tinyFile) { f.drop("blk.1.ffn_up.weight") }, `tensor "blk.1.ffn_up.weight" is missing`},
		{"foreign tensor", func(f *tinyFile) {
			f.tensor("blk.0.attn_q_norm.weight", 8)
		}, `"blk.0.attn_q_norm.weight" has no place`},
		{"wrong width", func(f *tinyFile) {
			f.set("llama.embedding_length", uint32(9))
		}, "has shape [10 8] (rows first), expected [10 9]"},
		{"odd groups", func(f *tinyFile) { f.set("llama.attention.head_count_kv", uint32(3)) }, "cannot share 3"},
		{"text as size", func(f *tinyFile) { f.set("llama.block_count", "two") }, "llama.block_count"},
		{"huge size", func(f *tinyFile) { f.set("llama.block_count", uint64(1<<40)) }, "expected one whole number"},
		{"many layers", func(f *tinyFile) { f.set("llama.block_count", uint32(16000)) }, `tensor "blk.2.`},
		{"zero heads", func(f *tinyFile) { f.set("llama.attention.head_count", uint32(0)) }, "heads is 0"},
		{"no epsilon", func(f *tinyFile) { f.set("llama.attention.layer_norm_rms_epsilon", float32(0)) }, "norm epsilon"},
		{"scaling", func(f *tinyFile) { f.set("llama.rope.scaling.type", "ntk") }, `"ntk"`},
		{"experts", func(f *tinyFile) { f.set("llama.expert_count", uint32(8)) }, "0 of 8 experts are used"},
		{"odd rope", func(f *tinyFile) { f.set("llama.rope.dimension_count", uint32(3)) }, "rope turns 3"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := newTinyFile()
			c.change(f)
			_, err := FromGGUF(f.open(t))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

// TestTied reads a model without an output matrix.
func TestTied(t *testing.T) {
	f := newTinyFile()
	f.drop("output.weight")
	m, err := FromGGUF(f.open(t))
	if err != nil {
		t.Fatal(err)
	}
	if !m.Spec.Tied || &m.Head.Data[0] != &m.Embed.Data[0] {
		t.Error("the head is not the embedding table")
	}
	if got, want := m.Parameters(), int64(10*8+8+2*(2*8+8*8+2*4*8+8*8+3*12*8)); got != want {
		t.Errorf("%d parameters, want %d", got, want)
	}
}
