package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/converttest"
	"github.com/peftconv/peftconv/internal/lorafile"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/peft/method"
)

// TestConvertedAdapters has llama.cpp load models and adapters of PEFT that the command converts: its logits are ours
// of the two directories, with the scales of PEFT, and ours of the converted files.
func TestConvertedAdapters(t *testing.T) {
	needs(t)
	dirs, err := filepath.Glob(filepath.Join(testdata.Shared(t, "convert"), "adapters", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			var config struct {
				Base string `json:"base_model_name_or_path"`
			}
			if err := json.Unmarshal(pefttest.FileBytes(t, filepath.Join(dir, attach.ConfigFile)), &config); err != nil {
				t.Fatal(err)
			}
			base := testdata.Shared(t, "convert/"+filepath.Base(config.Base))
			model, lora := filepath.Join(t.TempDir(), "model.gguf"), filepath.Join(t.TempDir(), "lora.gguf")
			args := []string{"convert", base, "--out", model, "--type", "f32"}
			if pre := converttest.PreTokenizer(t, base); pre != "" {
				args = append(args, "--pre-tokenizer", pre)
			}
			peftconv(t, args...)
			peftconv(t, "convert", dir, "--base", base, "--out", lora)
			compareAdapter(t, dir, base, model, lora)
		})
	}
}

// compareAdapter compares the logits of an adapter over a directory, and over a GGUF file, with llama.cpp's.
func compareAdapter(t *testing.T, dir, base, model, lora string) {
	t.Helper()
	from, in := pefttest.OpenBase(t, base), pefttest.OpenBase(t, model)
	a, err := attach.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	read, err := lorafile.Load(lora, in)
	if err != nil {
		t.Fatal(err)
	}
	answers := llamas(t, request{Model: model, Logits: someIDs, Adapters: []adapter{{Path: lora, Scale: 1}}},
		request{Model: model, Logits: someIDs})
	limit := 1e-4
	if from.Model.Spec.Activation == arch.GELU { // llama.cpp reads it from a table of half precision
		limit = 1e-3
	}
	want := answers[0].Logits
	near(t, "PEFT over Hugging Face", logitsWith(from.Model, pefttest.BindOne(t, a, from)), want, limit)
	near(t, "PEFT over GGUF", logitsWith(in.Model, pefttest.BindOne(t, a, in)), want, limit)
	near(t, "GGUF over GGUF", logitsWith(in.Model, pefttest.BindOne(t, read, in)), want, limit)
	if moved := difference(answers[1].Logits, want); moved < 1e-2 {
		t.Errorf("the adapter moves logits by %.1g of the largest", moved)
	}
}

// TestConvertedKinds converts PEFT directories of an adapter on every kind of map, for a small model of every
// architecture: llama.cpp's logits are ours.
func TestConvertedKinds(t *testing.T) {
	needs(t)
	for _, m := range archtest.All() {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			b := openArch(t, &m, filepath.Join(dir, "model.gguf"))
			a := pefttest.Trained(t, b, method.LoRA{Rank: 4, Alpha: 6, RSLoRA: true, Seed: 3, Targets: pairTargets(b),
				RankPattern: map[string]int{"v_proj": 2}})
			from, lora, back := filepath.Join(dir, "peft"), filepath.Join(dir, "lora.gguf"), filepath.Join(dir, "back")
			if err := a.SaveDir(from); err != nil {
				t.Fatal(err)
			}
			peftconv(t, "convert", from, "--base", b.Path, "--out", lora)
			peftconv(t, "convert", lora, "--base", b.Path, "--out", back)
			again, err := attach.Load(back)
			if err != nil {
				t.Fatal(err)
			}
			limit := 1e-4
			if b.Model.Spec.Activation == arch.GELU {
				limit = 1e-2
			}
			want := llama(t, request{Model: b.Path, Logits: someIDs, Adapters: []adapter{{Path: lora, Scale: 1}}}).Logits
			near(t, "PEFT", logitsWith(b.Model, pefttest.BindOne(t, a, b)), want, limit)
			near(t, "and back", logitsWith(b.Model, pefttest.BindOne(t, again, b)), want, limit)
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 4 {
				t.Errorf("there is left %v, %v", entries, err)
			}
		})
	}
}
