package heal_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/quantize"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/demo"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/heal"
	"github.com/peftconv/peftconv/peft/method"
)

// TestQuantize: an adapter over floats becomes a quantized model that is nearer to the merged one than before it is
// healed, and the files between are removed, also where it fails.
func TestQuantize(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long")
	}
	dir := t.TempDir()
	floats, err := demo.BaseAs(gguf.F16)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "base.gguf")
	if err := os.WriteFile(path, floats, 0o666); err != nil {
		t.Fatal(err)
	}
	inner := pefttest.OpenBase(t, path)
	b := pefttest.Base(inner)
	adapters := pefttest.Scaled([]attach.Scaled{{Adapter: pefttest.Trained(t, inner, method.LoRA{Rank: 2}), Scale: 0.02}})
	examples, all := text(t, b, 1, 24)
	held, ids := text(t, b, 1001, 4)
	to, err := quantize.ParseFileType("Q2_K")
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out.gguf")
	recipe := heal.Recipe{Type: to, Text: all, Options: heal.Options{Tokens: 3000, Held: ids, Ctx: 256},
		Eval: map[string]*peft.Data{"held": peft.NewData(held)}}
	r, stages, err := heal.Quantize(t.Context(), b, adapters, peft.NewData(examples), out, recipe)
	if err != nil {
		t.Fatal(err)
	}
	loss := map[string]float64{}
	for _, s := range stages {
		loss[s.Stage] = s.Of["held"]
	}
	if len(stages) != 5 || loss[heal.StageQuantized] <= loss[heal.StageMerged] || stages[4].Bytes != stages[3].Bytes &&
		stages[4].Bytes > stages[2].Bytes/4 {
		t.Errorf("stages %+v", stages)
	}
	before, after := r.Stages[0].Figures.Divergence.Value, r.Stages[1].Figures.Divergence.Value
	if after > 0.8*before {
		t.Errorf("the divergence falls from %v to %v only", before, after)
	}
	recipe.Text = nil
	if _, _, err = heal.Quantize(t.Context(), b, adapters, peft.NewData(examples), filepath.Join(dir, "x.gguf"),
		recipe); err == nil || !strings.Contains(err.Error(), "importance matrix: ") {
		t.Errorf("without a text for the importance matrix: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 2 {
		t.Errorf("left behind: %v", left)
	}
}

// anyTokens are examples of tokens of a small vocabulary.
func anyTokens(n, length int) (examples []peft.Example, all []int32) {
	r := prng.NewRandom(uint64(n), "tokens")
	for range n {
		ids := make([]int32, length)
		for i := range ids {
			ids[i] = int32(r.Next() % 300)
		}
		examples, all = append(examples, peft.Example{IDs: ids}), append(all, ids...)
	}
	return examples, all
}

// TestQuantizeDirectory does the same over a Hugging Face directory.
func TestQuantizeDirectory(t *testing.T) {
	dir := t.TempDir()
	inner := pefttest.OpenBase(t, testdata.Shared(t, "convert/Mistral-Tiny-v0.3"))
	b := pefttest.Base(inner)
	if err := heal.CheckRecipe(b); err != nil {
		t.Fatal(err)
	}
	adapters := pefttest.Scaled([]attach.Scaled{{Adapter: pefttest.Trained(t, inner, method.LoRA{Rank: 2}), Scale: 0.02}})
	examples, all := anyTokens(8, 400)
	held, ids := anyTokens(2, 300)
	to, err := quantize.ParseFileType("Q4_0")
	if err != nil {
		t.Fatal(err)
	}
	recipe := heal.Recipe{Type: to, Text: all, Options: heal.Options{Tokens: 1000, Held: ids, Ctx: 256},
		Eval: map[string]*peft.Data{"held": peft.NewData(held)}}
	out := filepath.Join(dir, "out.gguf")
	_, stages, err := heal.Quantize(t.Context(), b, adapters, peft.NewData(examples), out, recipe)
	if err != nil {
		t.Fatal(err)
	}
	loss := map[string]float64{}
	for _, s := range stages {
		loss[s.Stage] = s.Of["held"]
	}
	if d := loss[heal.StageMerged] - loss[heal.StageAdapter]; len(stages) != 5 || d > 1e-4 || d < -1e-4 ||
		loss[heal.StageAdapter] == loss[heal.StageFloats] {
		t.Errorf("stages %+v", stages)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}
