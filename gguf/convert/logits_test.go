package convert

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/store"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/safetensors"
)

// noWords stands for a vocabulary where a directory has none.
type noWords struct{ size int }

func (w noWords) Size() int       { return w.size }
func (w noWords) Notes() []string { return nil }
func (w noWords) Set(meta *gguf.Metadata) error {
	return meta.Set("tokenizer.ggml.model", "none")
}

// TestLogits wants a model to compute the same from a converted file as from its directory, for every architecture of
// which the reference data has a directory.
func TestLogits(t *testing.T) {
	for _, root := range []string{testdata.Shared(t, "hf"), testdata.Shared(t, "convert")} {
		configs, err := filepath.Glob(filepath.Join(root, "*", "config.json"))
		if err != nil || len(configs) < 31 {
			t.Fatalf("%d directories: %v", len(configs), err)
		}
		for _, path := range configs {
			t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) { testLogits(t, filepath.Dir(path)) })
		}
	}
}

func testLogits(t *testing.T, dir string) {
	t.Parallel()
	hf, files, err := model.FromHF(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m, err := arch.Read(s)
	if err != nil {
		t.Fatal(err)
	}
	c := &conversion{store: s, model: m, opt: Options{Type: "f32"}}
	if c.config, err = s.Config(); err != nil {
		t.Fatal(err)
	}
	p, err := c.plan(noWords{m.Spec.Vocab})
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out.gguf")
	if err := p.Write(t.Context(), out, nil); err != nil {
		t.Fatal(err)
	}
	converted, err := model.FromGGUF(opened(t, out))
	if err != nil {
		t.Fatal(err)
	}
	ids := []int32{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3}
	if w := m.Spec.At(0).Window; w > 0 { // not every architecture's GGUF files have it
		ids = ids[:min(len(ids), w)]
	}
	limit := 1e-11
	switch {
	case m.Spec.At(0).Activation == arch.GELUErf: // which GGUF files do not tell from the form of the tanh
		limit = 1e-6
	case m.HF.Type == "glm": // the reference converter has 1e-5 for the epsilon of its norms, whatever config.json says
		limit = 1e-5
	}
	want, have := logits(hf, ids), logits(converted, ids)
	sum, of := 0.0, 0.0
	for i := range want {
		d := float64(want[i] - have[i])
		sum, of = sum+d*d, of+float64(want[i])*float64(want[i])
	}
	if e := sum / of; !(e <= limit) {
		t.Errorf("the logits have a normalized mean squared error of %.2g", e)
	}
}

// logits are those behind each of the tokens.
func logits(m *model.Model, ids []int32) []float32 {
	tape := autograd.NewTape()
	tape.Record(false)
	b := &batch.Batch{IDs: ids, Bounds: []int32{0, int32(len(ids))}}
	rows := make([]int, len(ids))
	for i := range ids {
		b.Pos = append(b.Pos, int32(i))
		rows[i] = i
	}
	return m.Logits(tape, b, model.NoHooks{}, rows).Data
}

// TestWithoutMamba converts a model of Granite's hybrid class that has attention in all layers: it becomes one of the
// architecture without Mamba-2.
func TestWithoutMamba(t *testing.T) {
	d := newDir()
	const in, inner, width = "model.layers.0.", 96, 64
	var maps [3]safetensors.Item
	for i, name := range []string{"gate_proj", "up_proj", "down_proj"} {
		name = in + "mlp." + name + ".weight"
		maps[i] = d.tensors[name]
		delete(d.tensors, name)
	}
	gate, up, down := maps[0], maps[1], maps[2]
	both := safetensors.Item{Name: in + "shared_mlp.input_linear.weight", DType: safetensors.BF16,
		Shape: []int64{2 * inner, width}, Data: append(slices.Clone(gate.Data), up.Data...)}
	down.Name = in + "shared_mlp.output_linear.weight"
	d.tensors[both.Name], d.tensors[down.Name] = both, down
	for key, v := range map[string]any{
		"architectures": []string{"GraniteMoeHybridForCausalLM"}, "model_type": "granitemoehybrid", "num_local_experts": 0,
		"num_experts_per_tok": 0, "shared_intermediate_size": inner, "layer_types": []string{"attention"},
		"position_embedding_type": "rope", "mamba_n_heads": 8, "mamba_expand": 2, "mamba_d_conv": 4, "mamba_d_state": 16,
		"mamba_n_groups": 1, "embedding_multiplier": 12.0, "logits_scaling": 6.0, "residual_multiplier": 0.22,
		"attention_multiplier": 0.1,
	} {
		d.config[key] = v
	}
	dir := d.write(t)
	f := opened(t, convertTo(t, dir, options("f32")))
	for key, want := range map[string]string{
		"general.architecture": `"granite"`, "granite.attention.head_count_kv": "[2]", "granite.ssm.inner_size": "128",
		"granite.context_length": "128", "granite.rope.scaling.finetuned": "true",
	} {
		if v, _ := f.Meta.Get(key); v.String() != want {
			t.Errorf("%s is %v, expected %s", key, v, want)
		}
	}
	testLogits(t, dir)
}
