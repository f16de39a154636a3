package generate

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/peft/method"
)

// TestGenerateStories has the greedy text that llama.cpp gives.
func TestGenerateStories(t *testing.T) {
	b := pefttest.OpenBase(t, testdata.Shared(t, "models/stories260K.gguf"))
	var streamed strings.Builder
	r, err := run(context.Background(), b, nil, "Once upon a time", Options{N: 40}, func(s string) {
		streamed.WriteString(s)
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []int32{432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426, 338, 401, 396, 267, 337, 410, 408, 419, 292,
		411, 322, 265, 282, 295, 433, 426, 385, 328, 432, 358, 394, 261, 370, 432, 352, 266, 268, 388, 426}
	if !slices.Equal(r.IDs, want) {
		t.Errorf("tokens are %v", r.IDs)
	}
	const text = ", there was a little girl named Lily. She loved " +
		"to play outside in the park. One day, she saw a big, red ball."
	if r.Text != text || streamed.String() != text {
		t.Errorf("text is %q, streamed %q", r.Text, streamed.String())
	}
	if r.Stop != "length" || r.Tokens != 40 || r.PromptTokens < 2 || r.TokensPerSecond <= 0 {
		t.Errorf("result is %+v", r)
	}
}

// TestGenerateCached: with an adapter and a cache the tokens are those of whole forward passes.
func TestGenerateCached(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	a := pefttest.Trained(t, b, method.LoRA{})
	r, err := run(context.Background(), b, []attach.Scaled{{Adapter: a, Scale: 1}}, "the cat",
		Options{N: 12, IgnoreEOG: true, ExactActivations: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	bound, err := a.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	ids := attach.PromptIDs(b.Tokenizer, "the cat")
	if ids[0] != 1 || len(ids) != r.PromptTokens {
		t.Errorf("the prompt is %v", ids)
	}
	for i, got := range r.IDs {
		whole := &batch.Batch{}
		whole.Append(ids, nil)
		logits := pefttest.AllLogits(b, bound, whole)
		s := newSampler(Options{})
		want, err := s.next(logits[len(logits)-b.Model.Spec.Vocab:])
		if err != nil || got != want {
			t.Fatalf("token %d is %d, expected %d, %v", i, got, want, err)
		}
		ids = append(ids, got)
	}
	plain, err := run(context.Background(), b, nil, "the cat", Options{N: 12, IgnoreEOG: true}, nil)
	if err != nil || slices.Equal(plain.IDs, r.IDs) {
		t.Errorf("the adapter changes nothing: %v, %v", plain, err)
	}
}

// TestGenerateSamples: the same seed gives the same text, another seed another text.
func TestGenerateSamples(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	say := func(seed uint64) []int32 {
		r, err := run(context.Background(), b, nil, "the",
			Options{N: 20, Temperature: 1, TopK: 50, TopP: 0.95, Seed: seed, IgnoreEOG: true}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return r.IDs
	}
	if !slices.Equal(say(1), say(1)) {
		t.Error("one seed gives two texts")
	}
	if slices.Equal(say(1), say(2)) {
		t.Error("two seeds give one text")
	}
}

// TestGeneratePositions: a context beyond a model's embeddings of positions is refused before anything is generated,
// and virtual tokens take some of them.
func TestGeneratePositions(t *testing.T) {
	b := pefttest.OpenModel(t, archtest.Named(t, "gpt2"))
	_, err := run(t.Context(), b, nil, "abc", Options{Context: 300, IgnoreEOG: true}, func(piece string) {
		t.Error(piece)
	})
	if err == nil || !strings.Contains(err.Error(), "embeddings of 256 positions") {
		t.Errorf("error %v", err)
	}
	r, err := run(t.Context(), b, nil, "abc", Options{N: 1000, IgnoreEOG: true}, nil)
	if err != nil || r.Stop != "context" || r.PromptTokens+r.Tokens != 257 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestGenerateEnds checks every reason to stop.
func TestGenerateEnds(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	ctx := context.Background()
	r, err := run(ctx, b, nil, "the", Options{N: 1000, IgnoreEOG: true}, nil)
	if err != nil || r.Stop != "context" || r.PromptTokens+r.Tokens != 65 { // the last token is not read
		t.Errorf("%+v, %v", r, err)
	}
	r, err = run(ctx, b, nil, "the", Options{N: 3, IgnoreEOG: true}, nil)
	if err != nil || r.Stop != "length" || r.Tokens != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	ending := pefttest.Tiny
	ending.Edit = func(name string, x []float32) { // token 2 ends the text and is always the likeliest
		if name == "output_norm.weight" {
			clear(x)
			x[0] = 1
		}
		if name == "output.weight" {
			for i := range x {
				x[i] = 0
			}
		}
	}
	b = pefttest.OpenBase(t, ending.WriteGGUF(t))
	r, err = run(ctx, b, nil, "the", Options{}, nil) // all logits are 0: the smallest id, <unk>
	if err != nil || r.Stop != "context" || r.IDs[0] != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := run(ctx, b, nil, strings.Repeat("a", 70), Options{}, nil); err == nil ||
		!strings.Contains(err.Error(), "the context only 64") {
		t.Errorf("error %v", err)
	}
	if _, err := run(pefttest.Cancelled(), b, nil, "the", Options{}, nil); err == nil ||
		!strings.Contains(err.Error(), "canceled") {
		t.Errorf("error %v", err)
	}
	if _, err := run(ctx, pefttest.OpenBase(t, pefttest.Tiny.WriteHF(t, 0, 1)), nil, "the", Options{}, nil); err == nil ||
		!strings.Contains(err.Error(), "no tokenizer") {
		t.Errorf("error %v", err)
	}
}

// TestRunEach: every answer of several is the one that its seed gives alone, and some end earlier than others; with an
// adapter, on every way of keeping keys and values, and on a model with experts and one with a recurrence.
func TestRunEach(t *testing.T) {
	tiny := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	adapter := pefttest.Trained(t, tiny, method.LoRA{})
	for _, c := range []struct {
		name     string
		base     *attach.Base
		adapters []attach.Scaled
		cache    string
		prompt   string
	}{
		{"stories", pefttest.OpenBase(t, testdata.Shared(t, "models/stories260K.gguf")), nil, "", "Once upon a time"},
		{"adapter", tiny, []attach.Scaled{{Adapter: adapter, Scale: 1}}, CacheF16, "the cat"},
		{"q8_0", tiny, nil, CacheQ8_0, "the cat"},
		{"experts", pefttest.OpenModel(t, archtest.Named(t, "qwen3moe")), nil, "", "abc"},
		{"recurrence", pefttest.OpenModel(t, archtest.Named(t, "lfm2")), nil, "", "abc"},
	} {
		t.Run(c.name, func(t *testing.T) {
			opt := Options{N: 16, Temperature: 1.5, TopK: 100, Seed: 7, Cache: c.cache, Stop: []string{"the", "x"}}
			ids, err := promptIDs(c.base, c.adapters, c.prompt)
			if err != nil {
				t.Fatal(err)
			}
			each, err := runEach(t.Context(), c.base, c.adapters, ids, 18, opt, nil)
			if err != nil {
				t.Fatal(err)
			}
			different := map[string]bool{}
			for i, got := range each {
				alone, err := run(t.Context(), c.base, c.adapters, c.prompt, opt, nil)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got.IDs, alone.IDs) || got.Text != alone.Text || got.Stop != alone.Stop {
					t.Errorf("answer %d is %+v, alone %+v", i, got, alone)
				}
				different[got.Text] = true
				opt.Seed++
			}
			if len(different) < 6 {
				t.Errorf("18 seeds give %d texts", len(different))
			}
		})
	}
}

// TestCacheErrors wants heads that are no whole blocks and unknown types refused.
func TestCacheErrors(t *testing.T) {
	b := pefttest.OpenBase(t, testdata.Shared(t, "models/stories260K.gguf")) // heads of 8
	for cache, want := range map[string]string{"q8_0": "expected multiples of 32", "f8": "expected f32, f16 or q8_0"} {
		_, err := run(t.Context(), b, nil, "Once", Options{Cache: cache}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--kv %s: error %v", cache, err)
		}
	}
}
