package pefttest

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/safetensors"
)

// OpenModel writes a model as a GGUF file and opens it for the length of the test.
func OpenModel(t testing.TB, m *archtest.Model) *attach.Base {
	t.Helper()
	path := filepath.Join(t.TempDir(), m.Name+".gguf")
	m.Write(t, path)
	return OpenBase(t, path)
}

// WriteHFOf writes the weights of a base as float32 in a Hugging Face directory of the given model_type. more are
// further fields of config.json.
func WriteHFOf(t testing.TB, b *attach.Base, modelType string, more map[string]any) string {
	t.Helper()
	dir, s := t.TempDir(), &b.Model.Spec
	config := map[string]any{
		"model_type": modelType, "hidden_size": s.Width, "intermediate_size": max(s.FFN, s.Experts.FFN),
		"num_hidden_layers": s.Layers, "num_attention_heads": s.QueryHeads, "num_key_value_heads": s.KeyHeads,
		"max_position_embeddings": s.Context, "rms_norm_eps": s.NormEps, "vocab_size": s.Vocab, "hidden_act": "silu",
		"rope_theta": s.Rope.Base, "tie_word_embeddings": s.Tied,
	}
	if s.Experts.Count > 0 {
		config["num_local_experts"], config["num_experts_per_tok"] = s.Experts.Count, s.Experts.Used
	}
	maps.Copy(config, more)
	writeJSON(t, filepath.Join(dir, "config.json"), config)
	var items []safetensors.Item
	add := func(name string, x []float32, shape ...int64) {
		items = append(items, safetensors.Item{Name: name, DType: "F32", Shape: shape, Data: floats.LittleEndian(x)})
	}
	for _, l := range b.Model.Matrices() {
		x := model.InHFCols(model.InHFRows(model.Dequantized(&l.W), l), l)
		if _, ok := b.Model.Arch.Tensor(l.Role).Transform.(arch.Transpose); ok {
			add(l.Module+".weight", transposed(x, l.W.Rows, l.W.Cols), int64(l.W.Cols), int64(l.W.Rows))
		} else {
			add(l.Module+".weight", x, int64(l.W.Rows), int64(l.W.Cols))
		}
		if l.Bias != nil {
			add(l.Module+".bias", model.InHFRows(l.Bias, l), int64(l.W.Rows))
		}
	}
	for _, n := range b.Model.Norms() {
		add(n.Module+".weight", n.InHF(), int64(len(n.W.Data)))
		if n.B != nil {
			add(n.Module+".bias", n.B.Data, int64(len(n.B.Data)))
		}
	}
	if positions := b.Model.Arch.Tensor(arch.PositionEmbedding); positions != nil {
		stored := b.GGUF.Tensor(positions.GGUF)
		x, err := stored.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		add(positions.HF, x, stored.Shape[1], stored.Shape[0])
	}
	f, err := os.Create(filepath.Join(dir, shardName(0, 1)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := safetensors.Write(f, map[string]string{"format": "pt"}, items); err != nil {
		t.Fatal(err)
	}
	return dir
}

// transposed is a matrix with rows and columns exchanged.
func transposed(x []float32, rows, cols int) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i%cols*rows+i/cols] = v
	}
	return y
}
