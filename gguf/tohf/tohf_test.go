package tohf

import (
	"context"
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/modeltest"
)

// logits are those of all tokens.
func logits(m *model.Model, ids []int32) []float32 {
	var b batch.Batch
	b.Append(ids, nil)
	tape := autograd.NewTape()
	tape.Record(false)
	rows := make([]int, len(ids))
	for i := range rows {
		rows[i] = i
	}
	return m.Logits(tape, &b, model.NoHooks{}, rows).Data
}

func openGGUF(t testing.TB, path string) *gguf.File {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// logitsOfDir are those of a Hugging Face directory.
func logitsOfDir(t testing.TB, dir string, ids []int32) []float32 {
	t.Helper()
	m, files, err := model.FromHF(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	return logits(m, ids)
}

// far is the largest difference of two lists, as a share of the largest value.
func far(a, b []float32) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	d, size := 0.0, 0.0
	for i := range a {
		d, size = max(d, math.Abs(float64(a[i])-float64(b[i]))), max(size, math.Abs(float64(a[i])))
	}
	if math.IsNaN(d) || size == 0 {
		return math.Inf(1)
	}
	return d / size
}

// refused are the cases that no class of Hugging Face computes, and what is said of them.
var refused = map[string]string{
	"qwen2-head-bias": `tensor "output.bias": Qwen2ForCausalLM has no bias of the output head`,
	"llama-factors":   `the factors of RoPE in tensor "rope_freqs.weight" are none`,
}

// writeCase writes a case, with factors of RoPE that a class makes where the case has random ones that no class does.
func writeCase(t *testing.T, m *archtest.Model, path string) {
	t.Helper()
	m.Write(t, path)
	if _, refuses := refused[m.Name]; refuses {
		return
	}
	f := openGGUF(t, path)
	factors := f.Tensor("rope_freqs.weight")
	if factors == nil {
		return
	}
	values := map[string][]float32{}
	for _, tensor := range f.Tensors {
		x, err := tensor.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		values[tensor.Name] = append([]float32(nil), x...)
	}
	x := values[factors.Name]
	copy(x, arch.Llama3Factors(10000, 2*len(x), 16))
	if m.Arch == "gemma4" {
		for i := range x {
			x[i] = 1
			if i >= len(x)/4 {
				x[i] = 1e30
			}
		}
	}
	modeltest.WriteValues(t, path, f.Meta, f.Table(), func(tensor *gguf.Tensor) []float32 { return values[tensor.Name] })
}

// variants are models of classes that archtest has no case of: DeepSeek V2, whose queries are not latent and whose
// experts have no groups, with the maps of keys and values in one.
func variants(t *testing.T) []archtest.Model {
	v2 := *archtest.Named(t, "deepseek2")
	v2.Name, v2.Has = "deepseek2-v2", []arch.Role{arch.Query, arch.KeyUp, arch.ValueUp}
	v2.Fields = maps.Clone(v2.Fields)
	for _, key := range []string{"attention.q_lora_rank", "expert_group_count", "expert_group_used_count"} {
		delete(v2.Fields, key)
	}
	v2.Fields["expert_gating_func"], v2.Fields["expert_weights_norm"] = 1, false
	fused := v2
	fused.Name, fused.Has = "deepseek2-fused", []arch.Role{arch.Query, arch.KeyValueUp}
	fused.Fields = maps.Clone(v2.Fields)
	fused.Fields["attention.head_count_kv"], fused.Fields["attention.key_length"] = 4, 24
	fused.Fields["attention.value_length"] = 16
	delete(fused.Fields, "attention.key_length_mla")
	delete(fused.Fields, "attention.value_length_mla")
	return []archtest.Model{v2, fused}
}

// TestLogits converts a model of each architecture, loads it from the directory and wants the same logits.
func TestLogits(t *testing.T) {
	for _, m := range append(archtest.All(), variants(t)...) {
		if m.Arch == "bloom" { // whose class has no other width
			m.Fields = maps.Clone(m.Fields)
			m.Fields["feed_forward_length"] = 4 * m.Fields["embedding_length"].(int)
		}
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "model.gguf")
			writeCase(t, &m, path)
			f := openGGUF(t, path)
			out := filepath.Join(dir, "out")
			report, err := Write(context.Background(), f, out, Options{}, nil)
			if want, refuses := refused[m.Name]; refuses {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Fatalf("error %v, expected %q", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(report.Rounded) > 0 || report.DType != "F32" {
				t.Errorf("F32 became %s with %v", report.DType, report.Rounded)
			}
			base, err := model.FromGGUF(f)
			if err != nil {
				t.Fatal(err)
			}
			ids := archtest.IDs(24)
			limit := 2e-5
			if strings.HasPrefix(m.Name, "gptneox") || strings.HasPrefix(m.Name, "falcon") { // whose classes compute GELU by erf
				limit = 5e-3
			}
			d := far(logits(base, ids), logitsOfDir(t, out, ids))
			t.Logf("logits differ by %g of the largest", d)
			if !(d <= limit) {
				config, _ := os.ReadFile(filepath.Join(out, "config.json"))
				t.Errorf("logits differ by %g; %s", d, config)
			}
		})
	}
}

// readConfig is the config.json of a directory.
func readConfig(t testing.TB, dir string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	return config
}
