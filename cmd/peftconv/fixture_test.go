package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/quant"
)

// tinyModel describes a llama model of random weights, small enough to train in a moment.
type tinyModel struct {
	width, heads, kvHeads, ffn, layers int
	typ                                gguf.Type // of the matrices
	seed                               uint64
}

var tiny = tinyModel{width: 32, heads: 4, kvHeads: 2, ffn: 64, layers: 2, typ: gguf.F32, seed: 1}

// tinyVocab is a SentencePiece vocabulary of bytes and single letters.
func tinyVocab() (tokens []string, scores []float32, types []int32) {
	add := func(token string, kind int32) {
		tokens, scores, types = append(tokens, token), append(scores, -float32(len(tokens))), append(types, kind)
	}
	add("<unk>", 2)
	add("<s>", 3)
	add("</s>", 3)
	for b := range 256 {
		add(fmt.Sprintf("<0x%02X>", b), 6)
	}
	for _, r := range "▁etaoinshrdlu.," {
		add(string(r), 1)
	}
	return tokens, scores, types
}

func (m tinyModel) metadata(t testing.TB) *gguf.Metadata {
	t.Helper()
	tokens, scores, types := tinyVocab()
	meta := &gguf.Metadata{}
	for _, e := range []struct {
		key   string
		value any
	}{
		{key: "general.architecture", value: "llama"},
		{key: "general.type", value: "model"}, {key: "general.name", value: "tiny"},
		{key: "llama.block_count", value: uint32(m.layers)}, {key: "llama.embedding_length", value: uint32(m.width)},
		{key: "llama.feed_forward_length", value: uint32(m.ffn)}, {key: "llama.attention.head_count", value: uint32(m.heads)},
		{key: "llama.attention.head_count_kv", value: uint32(m.kvHeads)}, {key: "llama.context_length", value: uint32(64)},
		{key: "llama.attention.layer_norm_rms_epsilon", value: float32(1e-5)},
		{key: "tokenizer.ggml.model", value: "llama"}, {key: "tokenizer.ggml.tokens", value: tokens},
		{key: "tokenizer.ggml.scores", value: scores}, {key: "tokenizer.ggml.token_type", value: types},
		{key: "tokenizer.ggml.bos_token_id", value: uint32(1)}, {key: "tokenizer.ggml.eos_token_id", value: uint32(2)},
	} {
		if err := meta.Set(e.key, e.value); err != nil {
			t.Fatal(err)
		}
	}
	return meta
}

func (m tinyModel) tensors() []gguf.Tensor {
	vocab, _, _ := tinyVocab()
	d, kv, ffn := int64(m.width), int64(m.width/m.heads*m.kvHeads), int64(m.ffn)
	all := []gguf.Tensor{
		{Name: "token_embd.weight", Shape: []int64{d, int64(len(vocab))}, Type: m.typ},
		{Name: "output_norm.weight", Shape: []int64{d}},
	}
	for i := range m.layers {
		for _, w := range []struct {
			name     string
			cols, to int64
		}{
			{"attn_q", d, d}, {"attn_k", d, kv}, {"attn_v", d, kv}, {"attn_output", d, d},
			{"ffn_gate", d, ffn}, {"ffn_up", d, ffn}, {"ffn_down", ffn, d},
		} {
			all = append(all, gguf.Tensor{Name: fmt.Sprintf("blk.%d.%s.weight", i, w.name), Shape: []int64{w.cols, w.to},
				Type: m.typ})
		}
		all = append(all, gguf.Tensor{Name: fmt.Sprintf("blk.%d.attn_norm.weight", i), Shape: []int64{d}},
			gguf.Tensor{Name: fmt.Sprintf("blk.%d.ffn_norm.weight", i), Shape: []int64{d}})
	}
	return all
}

// write makes the model's file; spoil may change a tensor's values before they are written.
func (m tinyModel) write(t testing.TB, path string, spoil func(name string, values []float32)) {
	t.Helper()
	random := rand.New(rand.NewPCG(m.seed, 2))
	table := m.tensors()
	err := atomicfile.Write(path, func(out io.Writer) error {
		w, err := gguf.NewWriter(out, m.metadata(t), table)
		if err != nil {
			return err
		}
		for _, tensor := range table {
			values := make([]float32, tensor.Elements())
			for i := range values {
				values[i] = float32(random.NormFloat64()) / float32(math.Sqrt(float64(m.width)))
				if strings.HasSuffix(tensor.Name, "norm.weight") {
					values[i] = 1
				}
			}
			if spoil != nil {
				spoil(tensor.Name, values)
			}
			data := make([]byte, tensor.Size())
			quant.Quantize(tensor.Type, data, values, int(tensor.Cols()), nil)
			if err := w.WriteTensor(tensor.Name, data); err != nil {
				return err
			}
		}
		return w.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// tinyBase writes the model into the test's directory.
func tinyBase(t testing.TB, m tinyModel) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tiny.gguf")
	m.write(t, path, nil)
	return path
}

// tinyText is data that the tiny model can learn.
func tinyText(t testing.TB) string {
	t.Helper()
	return writeFile(t, "data.txt", []byte(strings.Repeat("the sea is on the shore, and the rain is in the sea. ", 40)))
}

// writeFile makes a file in a directory of its own.
func writeFile(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// trained is an adapter trained over a base for a few steps.
func trained(t *testing.T, base string, extra ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out.safetensors")
	want(t, cli.ExitOK, append([]string{"train", "--base", base, "--data", tinyText(t), "--out", out, "--steps", "10",
		"--seq-len", "48", "--batch-tokens", "96", "--rank", "4"}, extra...)...)
	return out
}

// document parses what --json printed and checks that it has the keys.
func document(t *testing.T, stdout string, keys ...string) map[string]any {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal([]byte(stdout), &doc); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	for _, key := range keys {
		if _, ok := doc[key]; !ok {
			t.Errorf("no key %q in %s", key, stdout)
		}
	}
	return doc
}

// safetensorsFile is a file of the given header and data.
func safetensorsFile(header string, data []byte) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(out, header...), data...)
}
