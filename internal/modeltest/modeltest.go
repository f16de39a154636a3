// Package modeltest writes small model files for tests.
package modeltest

import (
	"bufio"
	"encoding/binary"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/quant"
)

// Meta is metadata of pairs of key and value.
func Meta(t testing.TB, pairs ...any) *gguf.Metadata {
	t.Helper()
	meta := &gguf.Metadata{}
	for i := 0; i < len(pairs); i += 2 {
		if err := meta.Set(pairs[i].(string), pairs[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	return meta
}

// Numbers are normal random numbers that depend on the tensor's name.
func Numbers(name string, n int64) []float32 {
	h := fnv.New64a()
	h.Write([]byte(name))
	random := rand.New(rand.NewPCG(h.Sum64(), 1))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(random.NormFloat64()) / 16
	}
	return x
}

// Data is Numbers as a tensor's bytes for types that package quant knows, and arbitrary bytes for others.
func Data(t testing.TB, tensor gguf.Tensor, order binary.ByteOrder) []byte {
	t.Helper()
	data := make([]byte, tensor.Size())
	if !quant.Supported(tensor.Type) || quant.NeedsImportance(tensor.Type) {
		for i := range data {
			data[i] = byte(i*37 + len(tensor.Name))
		}
		return data
	}
	quant.Quantize(tensor.Type, data, Numbers(tensor.Name, tensor.Elements()), int(tensor.Cols()), nil)
	if order == binary.BigEndian {
		if err := gguf.SwapBytes(tensor.Type, data); err != nil {
			t.Fatal(err)
		}
	}
	return data
}

// WriteGGUF writes a file of random tensors; spoil, where it is not nil, may change a tensor's bytes before that.
func WriteGGUF(t testing.TB, path string, format gguf.Format, meta *gguf.Metadata, tensors []gguf.Tensor,
	spoil func(name string, data []byte)) {
	t.Helper()
	write(t, path, format, meta, tensors, func(tensor *gguf.Tensor) []byte {
		data := Data(t, *tensor, format.Order)
		if spoil != nil {
			spoil(tensor.Name, data)
		}
		return data
	})
}

// WriteValues writes a file of tensors whose values are given, quantized.
func WriteValues(t testing.TB, path string, meta *gguf.Metadata, tensors []gguf.Tensor,
	values func(*gguf.Tensor) []float32) {
	t.Helper()
	write(t, path, gguf.Format{}, meta, tensors, func(tensor *gguf.Tensor) []byte {
		data := make([]byte, tensor.Size())
		quant.Quantize(tensor.Type, data, values(tensor), int(tensor.Cols()), nil)
		return data
	})
}

// write writes a file of tensors whose bytes are given, one at a time.
func write(t testing.TB, path string, format gguf.Format, meta *gguf.Metadata, tensors []gguf.Tensor,
	data func(*gguf.Tensor) []byte) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	out := bufio.NewWriter(file)
	w, err := gguf.NewWriterFormat(out, meta, tensors, format)
	if err != nil {
		t.Fatal(err)
	}
	for i := range tensors {
		if err := w.WriteTensor(tensors[i].Name, data(&tensors[i])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
}

// Llama is the metadata and tensors of a llama model with this number of layers, rows of 256 weights, and a vocabulary
// of 8 tokens.
func Llama(t testing.TB, layers int, typ gguf.Type) (*gguf.Metadata, []gguf.Tensor) {
	t.Helper()
	const width, ffn, vocab = 256, 512, 8
	meta := Meta(t, "general.architecture", "llama", "general.name", "small", "llama.block_count", uint32(layers),
		"llama.embedding_length", uint32(width), "llama.feed_forward_length", uint32(ffn),
		"llama.attention.head_count", uint32(4), "llama.attention.layer_norm_rms_epsilon", float32(1e-5),
		"llama.context_length", uint32(64), "general.quantization_version", uint32(2),
		"tokenizer.ggml.model", "llama", "tokenizer.ggml.tokens", []string{"<unk>", "<s>", "</s>", "a", "b", "c", "d", "e"},
		"tokenizer.ggml.scores", make([]float32, vocab), "tokenizer.ggml.token_type", []int32{2, 3, 3, 1, 1, 1, 1, 1},
		"tokenizer.ggml.bos_token_id", uint32(1))
	tensors := []gguf.Tensor{
		{Name: "token_embd.weight", Shape: []int64{width, vocab}, Type: typ},
		{Name: "output_norm.weight", Shape: []int64{width}},
	}
	for i := range layers {
		block := "blk." + string(rune('0'+i)) + "."
		for _, w := range []gguf.Tensor{
			{Name: "attn_norm", Shape: []int64{width}}, {Name: "ffn_norm", Shape: []int64{width}},
			{Name: "attn_q", Shape: []int64{width, width}, Type: typ}, {Name: "attn_k", Shape: []int64{width, width}, Type: typ},
			{Name: "attn_v", Shape: []int64{width, width}, Type: typ},
			{Name: "attn_output", Shape: []int64{width, width}, Type: typ},
			{Name: "ffn_gate", Shape: []int64{width, ffn}, Type: typ}, {Name: "ffn_up", Shape: []int64{width, ffn}, Type: typ},
			{Name: "ffn_down", Shape: []int64{ffn, width}, Type: typ},
		} {
			w.Name = block + w.Name + ".weight"
			tensors = append(tensors, w)
		}
	}
	return meta, tensors
}

// NaN is the bytes of a float32 that is NaN.
func NaN() []byte {
	return binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(math.NaN())))
}
