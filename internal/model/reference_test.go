package model_test

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/store"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/safetensors"
)

// exact and table are how far logits may be from those of llama.cpp, as normalized mean squared error: table where
// llama.cpp reads GELU from a table of half precision.
const (
	exact = 1e-10
	table = 1e-6
)

// directories are Hugging Face directories of every class whose conversions llama.cpp has computed.
var directories = []struct {
	name  string
	limit float64
}{
	{"DeepSeek-V3-Tiny-0324", exact},
	{"EXAONE-4.0-0.1M", exact},
	{"GLM-4-Tiny-0414", exact},
	{"Hunyuan-0.1M-Instruct", exact},
	{"LFM2-0.1M", exact},
	{"Ministral-3-Tiny-Instruct-2512", exact},
	{"Mistral-Tiny-v0.3", exact},
	{"Mixtral-4x40K-Instruct-v0.1", exact},
	{"Nemotron-H-Tiny-8K", exact},
	{"OLMo-2-1124-0.2M", exact},
	{"Olmo-3-Tiny-Think", exact},
	{"Phi-3.5-tiny-instruct", exact},
	{"Qwen1.5-MoE-A60K-Chat", exact},
	{"Qwen2.5-0.2M-Instruct", exact},
	{"Qwen3-Next-0.2M-A0.1M-Instruct", exact},
	{"Qwen3-Tiny-0.4M-A0.2M-Instruct-2507", exact},
	{"Qwen3.5-0.2M", exact},
	{"Qwen3.5-0.3M-A0.1M", exact},
	{"Seed-OSS-Tiny-Instruct", exact},
	{"SmolLM3-Tiny-0.2M", exact},
	{"Tiny-Llama-3.2-0.26M-Instruct", exact},
	{"Tiny-Qwen3-0.2M", exact},
	{"c4ai-command-r-tiny-12-2024", exact},
	{"gemma-2-tiny-it", table},
	{"gemma-3-0.1m-it", table},
	{"gemma-4-0.2M-A0.1M-it", table},
	{"gemma-4-E0.1M-it", 1e-4}, // a model in which rounded activations grow; with GELU from such a table it is 3e-7
	{"gpt-oss-tiny", exact},
	{"gpt2-tiny", table},
	{"granite-3.1-tiny-a60k-instruct", exact},
	{"granite-3.3-tiny-instruct", exact},
	{"granite-4.0-h-micro-tiny", exact},
	{"pythia-tiny-deduped", table},
	{"stablelm-2-tiny-chat", exact},
	{"starcoder2-tiny", table},
}

// TestHFDirectories holds the logits of Hugging Face directories against those of llama.cpp for the GGUF files that its
// converter made of them.
func TestHFDirectories(t *testing.T) {
	root := testdata.Shared(t, "convert")
	known := map[string]bool{"adapters": true}
	for _, d := range directories {
		known[d.name] = true
		t.Run(d.name, func(t *testing.T) {
			dir := filepath.Join(root, d.name)
			m, files, err := model.FromHF(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer files.Close()
			var about struct{ IDs []int32 }
			text, err := os.ReadFile(filepath.Join(dir, "expected", "logits.json"))
			if err == nil {
				err = json.Unmarshal(text, &about)
			}
			if err != nil {
				t.Fatal(err)
			}
			want := filepath.Join(dir, "expected", "logits-dequantized.f32") // of products that round no activations
			if _, err := os.Stat(want); err != nil {
				want = filepath.Join(dir, "expected", "logits.f32")
			}
			nmse := squaredError(t, logits(m, about.IDs), archtest.Floats(t, want))
			if t.Logf("%.2g", nmse); !(nmse <= d.limit) {
				t.Errorf("the logits have a normalized mean squared error of %.2g, expected at most %.2g", nmse, d.limit)
			}
		})
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !known[e.Name()] {
			t.Errorf("%s is not in the table", e.Name())
		}
	}
}

// TestPackedExperts writes the experts of gpt-oss as numbers in place of blocks, as fine-tuned models have them.
func TestPackedExperts(t *testing.T) {
	dir := testdata.Shared(t, "convert/gpt-oss-tiny")
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var items []safetensors.Item
	for x := range s.Tensors() {
		name, packed := strings.CutSuffix(x.Name, "_blocks")
		switch {
		case packed:
			scales, _ := s.Tensor(name + "_scales")
			e, n, in := x.Shape[0], x.Shape[1], 32*x.Shape[2]
			values := make([]float32, e*n*in)
			for b, scale := range scales.Data {
				for i := range 32 {
					code := x.Data[16*b+i/2] >> (4 * (i % 2)) & 15
					magnitude := []float64{0, 0.5, 1, 1.5, 2, 3, 4, 6}[code&7]
					row, col := int64(b)/(in/32), int64(b)%(in/32)*32+int64(i)
					v := float32(math.Ldexp(magnitude, int(scale)-127))
					if code >= 8 {
						v = -v
					}
					values[(row/n*in+col)*n+row%n] = v
				}
			}
			items = append(items, safetensors.Item{Name: name, DType: "F32", Shape: []int64{e, in, n},
				Data: floats.LittleEndian(values)})
		case !strings.HasSuffix(x.Name, "_scales"):
			items = append(items, safetensors.Item{Name: x.Name, DType: safetensors.DType(x.TypeName), Shape: x.Shape,
				Data: x.Data})
		}
	}
	sameLogits(t, dir, items, func(map[string]any) {})
}

// TestHeadless names tensors as in files of a decoder without its head, with buffers that old files have, and leaves it
// to the tensors whether the head is the embedding table.
func TestHeadless(t *testing.T) {
	for _, name := range []string{"gpt2-tiny", "Tiny-Llama-3.2-0.26M-Instruct"} {
		dir := testdata.Shared(t, "convert/"+name)
		s, err := store.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		items := []safetensors.Item{{Name: "h.0.attn.bias", DType: "U8", Shape: []int64{1}, Data: []byte{1}}}
		for x := range s.Tensors() {
			items = append(items, safetensors.Item{Name: strings.TrimPrefix(x.Name, "transformer."),
				DType: safetensors.DType(x.TypeName), Shape: x.Shape, Data: x.Data})
		}
		sameLogits(t, dir, items, func(config map[string]any) { delete(config, "tie_word_embeddings") })
	}
}

// sameLogits wants the logits of a directory from other tensors with a changed config.json.
func sameLogits(t *testing.T, dir string, items []safetensors.Item, change func(config map[string]any)) {
	t.Helper()
	other := t.TempDir()
	config := map[string]any{}
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err == nil {
		err = json.Unmarshal(text, &config)
	}
	change(config)
	text, wrong := json.Marshal(config)
	f, create := os.Create(filepath.Join(other, "model.safetensors"))
	if err := errors.Join(err, wrong, create); err != nil {
		t.Fatal(err)
	}
	err = errors.Join(safetensors.Write(f, nil, items), f.Close(),
		os.WriteFile(filepath.Join(other, "config.json"), text, 0o644))
	if err != nil {
		t.Fatal(err)
	}
	var both [2][]float32
	for i, dir := range []string{dir, other} {
		m, files, err := model.FromHF(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer files.Close()
		both[i] = logits(m, []int32{3, 1, 4, 1, 5, 9, 2, 6})
	}
	if nmse := squaredError(t, both[1], both[0]); !(nmse <= exact) {
		t.Errorf("%s: the logits have a normalized mean squared error of %.2g", dir, nmse)
	}
}

// squaredError is the sum of squared differences over that of squares.
func squaredError(t *testing.T, got, want []float32) float64 {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d logits, expected %d", len(got), len(want))
	}
	var off, all float64
	for i, w := range want {
		off += math.Pow(float64(got[i]-w), 2)
		all += math.Pow(float64(w), 2)
	}
	return off / all
}
