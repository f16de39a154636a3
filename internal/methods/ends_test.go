package methods_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

// openArch is a model of archtest as a base without a tokenizer.
func openArch(t *testing.T, name string) *attach.Base {
	t.Helper()
	return pefttest.OpenModel(t, archtest.Named(t, name))
}

// TestEnds trains tables, heads and norms of architectures that have names of their own for them, whole, as pairs and
// by tokens, and reads the adapters again.
func TestEnds(t *testing.T) {
	for _, c := range []struct {
		model string
		opt   method.LoRA
		names []string
	}{
		{"gptneox", method.LoRA{Targets: []string{"query_key_value", "embed_in", "embed_out"}},
			[]string{"gpt_neox.embed_in.lora_embedding_A", "embed_out.lora_A.weight"}},
		{"gptneox", method.LoRA{Targets: []string{"dense"}, Save: []string{"embed_in", "embed_out"}, Norms: true},
			[]string{"gpt_neox.embed_in.weight", "embed_out.weight", "gpt_neox.final_layer_norm.weight"}},
		{"gpt2", method.LoRA{Targets: []string{"c_attn"}, TokenIDs: []int32{3, 5}, Norms: true},
			[]string{"transformer.wte." + methods.TokensPart, "transformer.ln_f.weight", "transformer.h.0.ln_1.weight"}},
		{"llama", method.LoRA{Targets: []string{"q_proj", "embed_tokens", "lm_head"}},
			[]string{"model.embed_tokens.lora_embedding_B", "lm_head.lora_B.weight"}},
	} {
		b := openArch(t, c.model)
		a, err := methods.NewLoRA(b, c.opt)
		if err != nil {
			t.Errorf("%s: %v", c.model, err)
			continue
		}
		for _, name := range c.names {
			if !slices.ContainsFunc(a.Tensors, func(p attach.Param) bool { return p.Name == attach.ParamPrefix+name }) {
				t.Errorf("%s: there is no tensor %s", c.model, name)
			}
		}
		pefttest.Stir(a, 4)
		path := filepath.Join(t.TempDir(), "a.safetensors")
		if err := a.Save(path); err != nil {
			t.Fatal(err)
		}
		again, err := attach.Load(path)
		if err != nil {
			t.Errorf("%s: %v", c.model, err)
			continue
		}
		packed := pefttest.Packed(orderData())
		want := pefttest.AllLogits(b, pefttest.BindOne(t, a, b), packed)
		got := pefttest.AllLogits(b, pefttest.BindOne(t, again, b), packed)
		without := pefttest.AllLogits(b, model.NoHooks{}, packed)
		if !slices.Equal(got, want) || pefttest.Relative(without, want) < 1e-3 {
			t.Errorf("%s: the adapter that was read does another thing, or nothing", c.model)
		}
	}
	_, err := methods.NewLoRA(openArch(t, "gptneox"), method.LoRA{Save: []string{"lm_head"}})
	if err == nil || !strings.Contains(err.Error(), "expected embed_in or embed_out") {
		t.Errorf("error %v", err)
	}
}
