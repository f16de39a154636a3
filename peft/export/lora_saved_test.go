package export

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/lorafile"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

// TestSaved: a matrix that is trained whole, and rows of tokens, are pairs in a GGUF LoRA, which has the same effect;
// only the base's weights tell them.
func TestSaved(t *testing.T) {
	m := archtest.Named(t, "llama")
	b := pefttest.OpenModel(t, m)
	dir := pefttest.WriteHFOf(t, b, "llama", nil)
	ids := archtest.IDs(12)
	packed := &batch.Batch{}
	packed.Append(ids, nil)
	without := pefttest.AllLogits(b, model.NoHooks{}, packed)
	for name, opt := range map[string]method.LoRA{
		"both ends": {Rank: 2, Save: []string{method.SaveBoth}, Targets: []string{"q_proj"}},
		"the head":  {Rank: 2, Save: []string{"lm_head"}, Targets: []string{"q_proj", "embed_tokens"}},
		"tokens":    {Rank: 2, TokenIDs: []int32{ids[3], ids[1]}, Targets: []string{"q_proj", "lm_head"}},
	} {
		a := pefttest.Trained(t, b, opt)
		from, lora := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "lora.gguf")
		if err := a.SaveDir(from); err != nil {
			t.Fatal(err)
		}
		want := pefttest.AllLogits(b, pefttest.BindOne(t, a, b), packed)
		for _, base := range []string{b.Path, dir} {
			if _, err := ConvertAdapter(t.Context(), from, lora, base, ConvertOptions{}); err != nil {
				t.Fatal(err)
			}
			read, err := lorafile.Load(lora, b)
			if err != nil {
				t.Fatal(err)
			}
			got := pefttest.AllLogits(b, pefttest.BindOne(t, read, b), packed)
			if off, moved := pefttest.Relative(got, want), pefttest.Relative(without, want); off > 1e-5 || moved < 1e-3 {
				t.Errorf("%s over %s: logits differ by %.2g, the adapter moves them by %.2g", name, base, off, moved)
			}
		}
	}
}

// TestTrainableTokens: so are the rows of PEFT's method that has nothing else.
func TestTrainableTokens(t *testing.T) {
	b := pefttest.OpenModel(t, archtest.Named(t, "llama"))
	width := b.Model.Spec.Width
	c := attach.Config{}
	err := json.Unmarshal([]byte(`{"peft_type": "TRAINABLE_TOKENS", "token_indices": [5, 2]}`), &c)
	if err != nil {
		t.Fatal(err)
	}
	a := &attach.Adapter{Config: c}
	a.Allocate(map[string][]int{attach.PartName("model.embed_tokens", "trainable_tokens_delta"): {2, width}})
	if a.Method, err = attach.NewMethod(&a.Config, a.Tensors); err != nil {
		t.Fatal(err)
	}
	pefttest.Stir(a, 3)
	path := filepath.Join(t.TempDir(), "lora.gguf")
	if err := GGUF(pefttest.Adapter(a), pefttest.Base(b), path); err != nil {
		t.Fatal(err)
	}
	read, err := lorafile.Load(path, b)
	if err != nil {
		t.Fatal(err)
	}
	packed := &batch.Batch{}
	packed.Append([]int32{5, 9, 2, 5}, nil)
	want := pefttest.AllLogits(b, pefttest.BindOne(t, a, b), packed)
	if off := pefttest.Relative(pefttest.AllLogits(b, pefttest.BindOne(t, read, b), packed), want); off > 1e-5 {
		t.Errorf("the logits differ by %.2g", off)
	}
}

// TestSavedOverTied: over a base whose head is its embedding table such a pair would change both.
func TestSavedOverTied(t *testing.T) {
	b := pefttest.OpenModel(t, archtest.Named(t, "gemma"))
	a := pefttest.Trained(t, b, method.LoRA{Rank: 2, TokenIDs: []int32{3}})
	path := filepath.Join(t.TempDir(), "lora.gguf")
	if err := GGUF(pefttest.Adapter(a), pefttest.Base(b), path); err == nil || !strings.Contains(err.Error(), "merge it") {
		t.Errorf("error %v", err)
	}
	pefttest.CheckEmpty(t, filepath.Dir(path))
}

// TestLlamaSaved holds such pairs against llama.cpp.
func TestLlamaSaved(t *testing.T) {
	llama := archtest.FindLlama(t)
	b := pefttest.OpenModel(t, archtest.Named(t, "llama"))
	for name, opt := range map[string]method.LoRA{
		"both ends": {Rank: 2, Save: []string{method.SaveBoth}, Targets: []string{"q_proj"}},
		"tokens":    {Rank: 2, TokenIDs: []int32{archtest.IDs(4)[3], 9}, Targets: []string{"q_proj", "lm_head"}},
	} {
		compareWithLlama(t, llama, name, b, pefttest.Trained(t, b, opt))
	}
}
