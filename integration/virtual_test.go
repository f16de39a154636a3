package integration

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/demo"
	"github.com/peftconv/peftconv/internal/testdata"
)

// virtualTokens is how many the adapters of these tests have.
const virtualTokens = 8

// TestVirtualTokens trains virtual tokens and prefixes and has llama.cpp go on from them: as part of a model's
// vocabulary, and from states.
func TestVirtualTokens(t *testing.T) {
	needs(t)
	type delivery struct {
		method, to string
		tolerance  float64 // beyond the base's: virtual tokens in a vocabulary take a little of the probability
	}
	for _, c := range []struct {
		name      string
		base      func(t *testing.T) string
		tolerance float64
		methods   []delivery
	}{
		{"stories", func(t *testing.T) string { return testdata.Shared(t, "models/stories260K.gguf") }, 2e-5, []delivery{
			{"prompt-tuning", "model", 0}, {"prompt-tuning", "state", 0}, {"p-tuning", "model", 0},
			{"prefix-tuning", "state", 0}, {"p-tuning-v2", "state", 0},
		}},
		{"demo", demoBase(gguf.F32), 2e-5, []delivery{{"prompt-tuning", "model", 2e-3}, {"prefix-tuning", "state", 0}}},
		{"demo in Q8_0", demoBase(gguf.Q8_0), 1e-2, []delivery{{"prompt-tuning", "model", 0}, {"p-tuning-v2", "state", 0}}},
		{"tied", func(t *testing.T) string { return testdata.Shared(t, "quant/files/tiny-qwen2-f16.gguf") }, 5e-4, []delivery{
			{"prompt-tuning", "model", 1e-2}, {"prefix-tuning", "state", 0}, // of random weights: no token is unlikely
		}},
	} {
		for _, d := range c.methods {
			t.Run(c.name+", "+d.method+" as "+d.to, func(t *testing.T) {
				s := subject{
					base: c.base(t), data: writeFile(t, "train.txt", head(t, "text/tinyshakespeare.txt", 20_000)),
					text: writeFile(t, "eval.txt", head(t, "text/tinyshakespeare.txt", 2_000)), prompt: "Once upon a time",
					tolerance: c.tolerance + d.tolerance, exact: c.tolerance < 1e-4,
				}
				s.virtual(t, d.method, d.to)
			})
		}
	}
}

// demoBase writes the built-in model in a type.
func demoBase(typ gguf.Type) func(t *testing.T) string {
	return func(t *testing.T) string {
		model, err := demo.BaseAs(typ)
		if err != nil {
			t.Fatal(err)
		}
		return writeFile(t, "base.gguf", model)
	}
}

// virtual trains with a method, exports and compares.
func (s subject) virtual(t *testing.T, method, to string) {
	dir := t.TempDir()
	adapter, out := filepath.Join(dir, "out.safetensors"), filepath.Join(dir, "out.gguf")
	peftconv(t, "train", "--method", method, "--base", s.base, "--data", s.data, "--virtual-tokens",
		fmt.Sprint(virtualTokens), "--steps", "10", "--seq-len", "128", "--batch-tokens", "512", "--out", adapter)
	r := request{Model: s.base, State: out, Score: &score{windows(t, s.base, s.text), window / 2},
		Generate: &generate{prompt(t, s.base, s.prompt), 48}}
	if to == "model" {
		peftconv(t, "export", "--lora", adapter, "--to", "model", "--out", out)
		r = r.behind(t, out)
	} else {
		peftconv(t, "export", "--lora", adapter, "--to", "state", "--state", "sequence", "--type", "F32", "--attention",
			"plain", "--out", out)
	}
	theirs := llama(t, r)
	s.compareLoss(t, []string{"--base", s.base, "--lora", adapter}, theirs)
	s.compareTokens(t, []string{"--base", s.base, "--lora", adapter}, theirs)
}

// behind is the request to a model with virtual tokens in its vocabulary: they stand before everything.
func (r request) behind(t *testing.T, model string) request {
	t.Helper()
	tok := vocabulary(t, model)
	if tok.AddBOS() {
		t.Error("the model puts BOS before virtual tokens")
	}
	var names strings.Builder
	for i := range virtualTokens {
		fmt.Fprintf(&names, "<pt_%d>", i)
	}
	ids := tok.Encode(names.String(), true)
	if len(ids) != virtualTokens || ids[0] != int32(tok.Size()-virtualTokens) {
		t.Fatalf("%s is read as %v, expected the last %d of %d tokens", names.String(), ids, virtualTokens, tok.Size())
	}
	out := request{Model: model, Generate: &generate{slices.Concat(ids, r.Generate.IDs), r.Generate.N},
		Score: &score{From: virtualTokens + r.Score.From}}
	for _, window := range r.Score.Windows {
		out.Score.Windows = append(out.Score.Windows, slices.Concat(ids, window))
	}
	return out
}

// TestStateIntoOwn has llama.cpp save a state of as many tokens and puts a prefix into it.
func TestStateIntoOwn(t *testing.T) {
	needs(t)
	base, dir := testdata.Shared(t, "models/stories260K.gguf"), t.TempDir()
	data := writeFile(t, "train.txt", head(t, "text/tinyshakespeare.txt", 20_000))
	at := func(name string) string { return filepath.Join(dir, name) }
	peftconv(t, "train", "--method", "prefix-tuning", "--base", base, "--data", data, "--virtual-tokens", "8", "--steps",
		"5", "--out", at("out.safetensors"))
	llama(t, request{Model: base, Save: &save{IDs: slices.Repeat([]int32{1}, 8), Path: at("own.state")}})
	export := []string{"export", "--lora", at("out.safetensors"), "--to", "state"}
	peftconv(t, append(export, "--from", at("own.state"), "--out", at("into.state"))...)
	peftconv(t, append(export, "--state", "sequence", "--type", "F32", "--attention", "plain", "--out",
		at("new.state"))...)
	ask := func(state string) []int32 {
		return llama(t, request{Model: base, State: at(state),
			Generate: &generate{prompt(t, base, "Once upon a time"), 24}}).Generated
	}
	if a, b := ask("into.state"), ask("new.state"); !slices.Equal(a, b) {
		t.Errorf("from a state of its own it goes on with %v, from one of ours with %v", a, b)
	}
}
