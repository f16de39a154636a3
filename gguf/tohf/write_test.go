package tohf

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/modeltest"
	"github.com/peftconv/peftconv/internal/store"
	"github.com/peftconv/peftconv/quant"
)

// small is a case as a file, with tensors and metadata changed.
func small(t *testing.T, name string, edit func(meta *gguf.Metadata, tensors []gguf.Tensor) []gguf.Tensor) *gguf.File {
	t.Helper()
	m := archtest.Named(t, name)
	meta, tensors := m.Meta(t), m.Tensors(t)
	if edit != nil {
		tensors = edit(meta, tensors)
	}
	path := filepath.Join(t.TempDir(), "model.gguf")
	modeltest.WriteGGUF(t, path, gguf.Format{}, meta, tensors, nil)
	return openGGUF(t, path)
}

// left are the names in a folder.
func left(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestRefused wants errors that name what is wrong, and nothing left behind.
func TestRefused(t *testing.T) {
	set := func(key string, v any) func(*gguf.Metadata, []gguf.Tensor) []gguf.Tensor {
		return func(meta *gguf.Metadata, tensors []gguf.Tensor) []gguf.Tensor {
			if err := meta.Set(key, v); err != nil {
				t.Fatal(err)
			}
			return tensors
		}
	}
	without := func(name string) func(*gguf.Metadata, []gguf.Tensor) []gguf.Tensor {
		return func(_ *gguf.Metadata, tensors []gguf.Tensor) []gguf.Tensor {
			return slices.DeleteFunc(tensors, func(x gguf.Tensor) bool { return x.Name == name })
		}
	}
	with := func(x gguf.Tensor) func(*gguf.Metadata, []gguf.Tensor) []gguf.Tensor {
		return func(_ *gguf.Metadata, tensors []gguf.Tensor) []gguf.Tensor { return append(tensors, x) }
	}
	for _, c := range []struct {
		name, model string
		edit        func(*gguf.Metadata, []gguf.Tensor) []gguf.Tensor
		o           Options
		want        string
	}{
		{"architecture", "llama", set("general.architecture", "rwkv9"), Options{}, `architecture "rwkv9" is not supported`},
		{"only known by name", "llama", set("general.architecture", "deci"), Options{}, `architecture "deci" is not supported`},
		{"adapter", "llama", set("general.type", "adapter"), Options{}, `general.type is "adapter"`},
		{"missing", "llama", without("blk.1.ffn_up.weight"), Options{}, `tensor "blk.1.ffn_up.weight" is missing`},
		{"missing head norm", "qwen3", without("blk.0.attn_q_norm.weight"), Options{},
			`tensor "blk.0.attn_q_norm.weight" is missing`},
		{"missing latent keys", "deepseek2", without("blk.0.attn_k_b.weight"), Options{},
			`tensor "blk.0.attn_kv_b.weight" is missing, or "blk.0.attn_k_b.weight" and "blk.0.attn_v_b.weight" in its place`},
		{"missing part", "granitemoe", without("blk.1.ffn_up_exps.weight"), Options{},
			`tensor "blk.1.ffn_up_exps.weight" is missing`},
		{"no place", "llama", with(gguf.Tensor{Name: "blk.0.hyper.weight", Shape: []int64{8, 8}}), Options{},
			`tensor "blk.0.hyper.weight" has no place in LlamaForCausalLM`},
		{"draft of another", "llama", with(gguf.Tensor{Name: "blk.2.nextn.eh_proj.weight", Shape: []int64{8, 8}}), Options{},
			`tensor "blk.2.nextn.eh_proj.weight" has no place in LlamaForCausalLM`},
		{"shape", "llama", func(_ *gguf.Metadata, tensors []gguf.Tensor) []gguf.Tensor {
			for i := range tensors {
				if tensors[i].Name == "blk.0.attn_k.weight" {
					tensors[i].Shape = []int64{64, 48}
				}
			}
			return tensors
		}, Options{}, `tensor "blk.0.attn_k.weight" has shape [48 64] (rows first), expected [32 64]`},
		{"type", "llama", nil, Options{DType: "q4_0"}, `the type "q4_0": expected f32, f16 or bf16`},
		{"setting", "bloom", nil, Options{}, "BloomForCausalLM cannot compute what the file does: layer 0: FFN would be 384"},
		{"scaling", "llama", set("llama.rope.scaling.type", "spiral"), Options{}, `"spiral"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			parent := t.TempDir()
			_, err := Write(t.Context(), small(t, c.model, c.edit), filepath.Join(parent, "out"), c.o, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, expected %q", err, c.want)
			}
			if names := left(t, parent); len(names) > 0 {
				t.Errorf("%q are left", names)
			}
		})
	}
}

// TestEnded ends the work in its middle, by the context and by an error of a file of the tokenizer, as on a full disk.
func TestEnded(t *testing.T) {
	f, parent := small(t, "qwen3moe", nil), t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	_, err := Write(ctx, f, filepath.Join(parent, "out"), Options{}, func(done, all int64) {
		if calls++; calls == 3 {
			cancel()
		}
		if done > all {
			t.Errorf("%d of %d bytes are written", done, all)
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	full := errors.New("no space left on device")
	_, err = Write(t.Context(), f, filepath.Join(parent, "out"), Options{
		Files: func(func(string, []byte) error) error { return full }}, nil)
	if !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	if names := left(t, parent); len(names) > 0 {
		t.Errorf("%q are left", names)
	}
}

// TestExisting refuses a directory with something in it, and replaces the model in it when told to.
func TestExisting(t *testing.T) {
	f, dir := small(t, "llama", nil), t.TempDir()
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(t.Context(), f, out, Options{}, nil); err != nil { // an empty one
		t.Fatal(err)
	}
	for _, name := range []string{"notes.txt", "old.safetensors"} {
		if err := os.WriteFile(filepath.Join(out, name), []byte("mine"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Write(t.Context(), f, out, Options{}, nil)
	if err == nil || !strings.Contains(err.Error(), "the directory exists and holds ") {
		t.Errorf("error %v", err)
	}
	if names := left(t, out); !slices.Contains(names, "notes.txt") {
		t.Errorf("%q are left", names)
	}
	if _, err := Write(t.Context(), f, out, Options{Force: true}, nil); err != nil {
		t.Fatal(err)
	}
	if names := left(t, out); !slices.Contains(names, "notes.txt") || slices.Contains(names, "old.safetensors") ||
		len(left(t, dir)) != 1 {
		t.Errorf("%q are left, %q beside", names, left(t, dir))
	}
}

// TestLeftOut names tensors that nothing computes with.
func TestLeftOut(t *testing.T) {
	f := small(t, "gemma", func(_ *gguf.Metadata, tensors []gguf.Tensor) []gguf.Tensor {
		return append(tensors, gguf.Tensor{Name: "output.weight", Shape: []int64{64, 64}})
	})
	report, err := Write(t.Context(), f, filepath.Join(t.TempDir(), "out"), Options{}, nil)
	if err != nil || !slices.Equal(report.LeftOut, []string{"output.weight"}) {
		t.Errorf("%+v: %v", report, err)
	}
}

// TestShards divides the tensors over files of a size.
func TestShards(t *testing.T) {
	f, dir := small(t, "mixtral", nil), t.TempDir()
	one, many := filepath.Join(dir, "one"), filepath.Join(dir, "many")
	if _, err := Write(t.Context(), f, one, Options{}, nil); err != nil {
		t.Fatal(err)
	}
	report, err := Write(t.Context(), f, many, Options{ShardBytes: 100_000}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Files) < 3 || report.Files[0] != "model-00001-of-0000"+report.Files[0][19:] {
		t.Errorf("files %q", report.Files)
	}
	a, b := openStore(t, one), openStore(t, many)
	for x := range a.Tensors() {
		if y, ok := b.Tensor(x.Name); !ok || !slices.Equal(x.Data, y.Data) {
			t.Errorf("tensor %q is another", x.Name)
		}
	}
	if text, err := os.ReadFile(filepath.Join(many, "model.safetensors.index.json")); err != nil ||
		!strings.Contains(string(text), `"total_size": `) {
		t.Errorf("index %s: %v", text, err)
	}
}

func openStore(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// quantized has the matrices of layers in a type.
func quantized(typ gguf.Type) func(*gguf.Metadata, []gguf.Tensor) []gguf.Tensor {
	return func(_ *gguf.Metadata, tensors []gguf.Tensor) []gguf.Tensor {
		for i := range tensors {
			if x := &tensors[i]; len(x.Shape) > 1 && x.Shape[0]%int64(typ.BlockLen()) == 0 {
				x.Type = typ
			}
		}
		return tensors
	}
}

// TestQuantized makes bf16 of a quantized file, with the values of its blocks, and says what rounding changed.
func TestQuantized(t *testing.T) {
	f := small(t, "qwen2moe", quantized(gguf.Q8_0))
	out := filepath.Join(t.TempDir(), "out")
	report, err := Write(t.Context(), f, out, Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, out)
	x, ok := s.Tensor("model.layers.1.mlp.experts.2.up_proj.weight")
	if !ok || x.TypeName != "BF16" {
		t.Fatalf("tensor %+v", x)
	}
	stack := f.Tensor("blk.1.ffn_up_exps.weight")
	values, err := stack.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	n := len(x.Data) / 2
	want := make([]byte, len(x.Data))
	quant.Quantize(gguf.BF16, want, values[2*n:3*n], n, nil)
	if !slices.Equal(x.Data, want) {
		t.Error("an expert has other values than its blocks")
	}
	i := slices.IndexFunc(report.Rounded, func(r Rounding) bool { return r.Tensor == x.Name })
	if i < 0 {
		t.Fatal("no rounding is reported")
	}
	if r := report.Rounded[i]; r.From != "Q8_0" || r.To != "BF16" || !(r.RMS > 5e-4 && r.RMS < 3e-3) || !(r.Max > 0) {
		t.Errorf("rounding %+v", r)
	}
	if report.DType != "BF16" || readConfig(t, out)["torch_dtype"] != "bfloat16" {
		t.Errorf("the type is %s", report.DType)
	}
	// numbers that fit are bf16, others stay
	if norm, _ := s.Tensor("model.norm.weight"); norm.TypeName != "F32" {
		t.Errorf("the norm is %s", norm.TypeName)
	}
}

// TestValues refuses numbers that are not finite, and one that f16 has not, and names their place.
func TestValues(t *testing.T) {
	for _, c := range []struct {
		value       float32
		dtype, want string
	}{
		{1e5, "f16", "row 3, column 5 is 100000, beyond the largest number of F16: write bf16 or f32"},
		{float32(math.NaN()), "", "row 3, column 5 is not a finite number"},
		{float32(math.Inf(-1)), "bf16", "row 3, column 5 is not a finite number"},
	} {
		path := filepath.Join(t.TempDir(), "model.gguf")
		m := archtest.Named(t, "llama")
		modeltest.WriteGGUF(t, path, gguf.Format{}, m.Meta(t), m.Tensors(t), func(name string, data []byte) {
			if name == "blk.1.ffn_up.weight" {
				quant.Quantize(gguf.F32, data[4*(3*64+5):][:4], []float32{c.value}, 1, nil)
			}
		})
		parent := t.TempDir()
		_, err := Write(t.Context(), openGGUF(t, path), filepath.Join(parent, "out"), Options{DType: c.dtype}, nil)
		want := `tensor "model.layers.1.mlp.up_proj.weight": ` + c.want
		if err == nil || !strings.Contains(err.Error(), want) || len(left(t, parent)) > 0 {
			t.Errorf("error %v, expected %q; %q are left", err, want, left(t, parent))
		}
	}
}

// TestBlocks keeps experts of MXFP4 as blocks, and makes floats of them where a type is asked for: both compute the
// same.
func TestBlocks(t *testing.T) {
	f := small(t, "gpt-oss", func(_ *gguf.Metadata, tensors []gguf.Tensor) []gguf.Tensor {
		for i := range tensors {
			if strings.HasSuffix(tensors[i].Name, "_exps.weight") {
				tensors[i].Type = gguf.MXFP4
			}
		}
		return tensors
	})
	dir, ids := t.TempDir(), archtest.IDs(16)
	blocks, floats := filepath.Join(dir, "blocks"), filepath.Join(dir, "floats")
	for out, dtype := range map[string]string{blocks: "", floats: "f32"} {
		if _, err := Write(t.Context(), f, out, Options{DType: dtype}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if d := far(logitsOfDir(t, blocks, ids), logitsOfDir(t, floats, ids)); !(d < 1e-5) {
		t.Errorf("logits differ by %g", d)
	}
	if _, ok := readConfig(t, blocks)["quantization_config"]; !ok {
		t.Error("config.json does not name the blocks")
	}
	if _, ok := readConfig(t, floats)["quantization_config"]; ok {
		t.Error("config.json names blocks where there are none")
	}
}

// TestRopeScaling takes the rope_scaling that is given for factors of an unknown kind.
func TestRopeScaling(t *testing.T) {
	m := archtest.Named(t, "llama-factors")
	path := filepath.Join(t.TempDir(), "model.gguf")
	m.Write(t, path)
	out := filepath.Join(t.TempDir(), "out")
	o := Options{RopeScaling: map[string]any{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
		"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}
	if _, err := Write(t.Context(), openGGUF(t, path), out, o, nil); err != nil {
		t.Fatal(err)
	}
	scaling, _ := readConfig(t, out)["rope_scaling"].(map[string]any)
	if scaling["factor"] != 8.0 {
		t.Errorf("rope_scaling %v", scaling)
	}
}

// TestZeroBiases adds those that a class has where the file has only some.
func TestZeroBiases(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.gguf")
	m := *archtest.Named(t, "llama")
	m.Biases = []arch.Role{arch.Query, arch.Key, arch.Value}
	m.Write(t, path)
	f, out := openGGUF(t, path), filepath.Join(t.TempDir(), "out")
	if _, err := Write(t.Context(), f, out, Options{}, nil); err != nil {
		t.Fatal(err)
	}
	bias, ok := openStore(t, out).Tensor("model.layers.1.self_attn.o_proj.bias")
	flag := readConfig(t, out)["attention_bias"]
	if !ok || slices.ContainsFunc(bias.Data, func(b byte) bool { return b != 0 }) || flag != true {
		t.Errorf("the bias of the output is %+v", bias)
	}
}

// TestLogarithm finds a number of few bits whose exponential was taken, and for others one with the same exponential.
func TestLogarithm(t *testing.T) {
	for bits := uint32(0x3c00); bits < 0x4100; bits++ { // bf16 from 0.0078 to 8
		x := math.Float32frombits(bits << 16)
		if y := logarithm(-floats.Exp(x)); y != x && x > 0.02 {
			t.Fatalf("%g became %g", x, y)
		}
	}
	for x := float32(-2); x < 4; x += 0.000737 {
		if y := logarithm(-floats.Exp(x)); floats.Exp(y) != floats.Exp(x) {
			t.Fatalf("%g became %g", x, y)
		}
	}
}

// TestCard writes what the metadata say of a model, in texts that YAML reads as texts.
func TestCard(t *testing.T) {
	meta := modeltest.Meta(t, "general.name", "Tiny  Model", "general.license", "apache-2.0", "general.languages",
		[]string{"en", "no"}, "general.base_model.count", uint32(2), "general.base_model.0.repo_url",
		"https://example.org/maker/base-7b", "general.base_model.1.name", "Other: one", "general.tags",
		[]string{"text-generation"})
	const want = `---
license: apache-2.0
model_name: "Tiny  Model"
language:
- "en"
- "no"
base_model:
- maker/base-7b
- "Other: one"
tags:
- text-generation
---

# Tiny Model

Converted from GGUF by peftconv.
`
	if got := string(modelCard(meta)); got != want {
		t.Errorf("%s", got)
	}
	if card := modelCard(&gguf.Metadata{}); card != nil {
		t.Errorf("%s", card)
	}
}
