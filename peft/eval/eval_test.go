package eval_test

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/dataset"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/peft/eval"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/peft/train"
)

// TestPerplexityOfLlama reproduces figures of llama-perplexity on a trained model. Its keys and values are half
// precision.
func TestPerplexityOfLlama(t *testing.T) {
	if testing.Short() {
		t.Skip("evaluates 120,000 tokens")
	}
	b := pefttest.OpenBase(t, testdata.Shared(t, "models/stories260K.gguf"))
	text := pefttest.FileBytes(t, testdata.Shared(t, "text/tinyshakespeare.txt"))
	for _, test := range []struct {
		name string
		text []byte
		ctx  int
		want float64
	}{
		{"head", text[:100_000], 256, 104.7394}, {"head", text[:100_000], 512, 108.8450},
		{"tail", text[len(text)-50_000:], 256, 146.1663}, {"tail", text[len(text)-50_000:], 512, 149.3107},
	} {
		ids := b.Tokenizer.Encode(string(test.text), false)
		windows := 0
		r, err := eval.Perplexity(context.Background(), pefttest.Base(b), nil, ids, eval.PerplexityOptions{
			Ctx: test.ctx, Progress: func(done, all int, _ float64) { windows = done },
		})
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(r.Perplexity/test.want-1) > 3e-4 {
			t.Errorf("%s, context %d: perplexity %.4f, expected %.4f", test.name, test.ctx, r.Perplexity, test.want)
		}
		if r.Windows != windows || r.Windows != (len(ids)+1)/test.ctx || r.Tokens != r.Windows*(test.ctx/2-1) {
			t.Errorf("%s, context %d: %+v of %d tokens, %d windows seen", test.name, test.ctx, r, len(ids), windows)
		}
	}
}

// TestPerplexityByHand computes the definition one window at a time.
func TestPerplexityByHand(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a := pefttest.Trained(t, b, method.LoRA{})
	ids := make([]int32, 50)
	for i := range ids {
		ids[i] = int32(3 + i*7%40)
	}
	const size = 12
	all := append([]int32{1}, ids...)
	bound, err := a.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	n := 0
	for w := range len(all) / size {
		window := append([]int32{1}, all[w*size+1:(w+1)*size]...)
		one := &batch.Batch{}
		one.Append(window, nil)
		logits := pefttest.AllLogits(b, bound, one)
		for i := size / 2; i < size-1; i++ {
			sum += crossEntropy(logits[i*b.Model.Spec.Vocab:][:b.Model.Spec.Vocab], window[i+1])
			n++
		}
	}
	r, err := eval.Perplexity(context.Background(), pefttest.Base(b),
		pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), ids, eval.PerplexityOptions{Ctx: size})
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(r.Loss-sum/float64(n)) > 1e-5 || r.Tokens != n || r.Windows != 4 || r.Ctx != size {
		t.Errorf("found %+v, expected a loss of %v over %d tokens", r, sum/float64(n), n)
	}
}

func crossEntropy(logits []float32, target int32) float64 {
	var sum float64
	for _, v := range logits {
		sum += math.Exp(float64(v))
	}
	return math.Log(sum) - float64(logits[target])
}

// TestEvalLoss: the mean over targets, whatever the size of the batches.
func TestEvalLoss(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	set := pefttest.TinyData(9, 1)
	tape := autograd.NewTape()
	tape.Record(false)
	sum, n := b.Model.Loss(tape, pefttest.Packed(set), model.NoHooks{}, 1)
	for _, size := range []int{0, 16, 40} {
		r, err := eval.Loss(context.Background(), pefttest.Base(b), nil, pefttest.Data(set), size)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(r.Loss-sum/float64(n)) > 1e-5 || r.Tokens != n || r.Examples != 9 ||
			math.Abs(r.Perplexity-math.Exp(r.Loss)) > 1e-9 {
			t.Errorf("batches of %d: %+v, expected a loss of %v over %d tokens", size, r, sum/float64(n), n)
		}
	}
}

// TestEvalRefused evaluates what cannot be evaluated.
func TestEvalRefused(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	poisoned := pefttest.Tiny
	poisoned.Edit = func(name string, x []float32) {
		if name == "token_embd.weight" {
			x[33] = float32(math.Inf(1))
		}
	}
	bad := pefttest.OpenBase(t, poisoned.WriteGGUF(t))
	ctx := context.Background()
	ids := make([]int32, 40)
	_, short := eval.Perplexity(ctx, pefttest.Base(b), nil, ids[:5], eval.PerplexityOptions{Ctx: 16})
	_, long := eval.Perplexity(ctx, pefttest.Base(b), nil, ids, eval.PerplexityOptions{Ctx: 65})
	_, narrow := eval.Perplexity(ctx, pefttest.Base(b), nil, ids, eval.PerplexityOptions{Ctx: 3})
	_, beyond := eval.Perplexity(ctx, pefttest.Base(b), nil, append(ids, 5000), eval.PerplexityOptions{Ctx: 16})
	_, stopped := eval.Perplexity(pefttest.Cancelled(), pefttest.Base(b), nil, ids, eval.PerplexityOptions{Ctx: 16})
	_, infinite := eval.Perplexity(ctx, pefttest.Base(bad), nil, append(make([]int32, 15), 1, 1, 1, 1, 1, 1, 1),
		eval.PerplexityOptions{Ctx: 16})
	_, empty := eval.Loss(ctx, pefttest.Base(b), nil, pefttest.Data(&dataset.Set{}), 0)
	_, lossStopped := eval.Loss(pefttest.Cancelled(), pefttest.Base(b), nil, pefttest.Data(pefttest.TinyData(3, 1)), 0)
	for reason, err := range map[string]error{
		"6 tokens, less than one window of 16": short, "was made for 64": long,
		"expected 4 or more": narrow, "id 5000": beyond,
		"token_embd.weight is +Inf in row 1, column 1": infinite, "no token to predict": empty,
		"perplexity: context canceled": stopped, "evaluate: context canceled": lossStopped,
	} {
		if err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("error %v, expected one with %q", err, reason)
		}
	}
	if !errors.Is(stopped, context.Canceled) {
		t.Error("the cause of a cancellation is lost")
	}
}

// TestMergedLossOfStories trains a little on a real model, merges into float32 and compares both perplexities.
func TestMergedLossOfStories(t *testing.T) {
	if testing.Short() {
		t.Skip("trains on 12,000 characters")
	}
	b := pefttest.OpenBase(t, testdata.Shared(t, "models/stories260K.gguf"))
	text := pefttest.FileBytes(t, testdata.Shared(t, "text/tinyshakespeare.txt"))
	a, err := methods.NewLoRA(b, method.LoRA{})
	if err != nil {
		t.Fatal(err)
	}
	ids := b.Tokenizer.Encode(string(text[:12_000]), false)
	set := &dataset.Set{}
	for len(ids) > 128 {
		set.Examples = append(set.Examples, dataset.Example{IDs: ids[:128]})
		ids = ids[128:]
	}
	if _, err := train.Run(context.Background(), pefttest.Base(b), pefttest.Adapter(a), pefttest.Data(set), nil,
		train.Options{LR: 5e-3, BatchTokens: 512}); err != nil {
		t.Fatal(err)
	}
	evalIDs := b.Tokenizer.Encode(string(text[len(text)-8_000:]), false)
	var figures [3]float64
	out := filepath.Join(t.TempDir(), "merged.gguf")
	if _, err := merge.Run(context.Background(), pefttest.Base(b),
		pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), out, merge.Options{Type: "F32"}); err != nil {
		t.Fatal(err)
	}
	merged := pefttest.OpenBase(t, out)
	for i, run := range []struct {
		base     *attach.Base
		adapters []attach.Scaled
	}{{b, nil}, {b, []attach.Scaled{{Adapter: a, Scale: 1}}}, {merged, nil}} {
		r, err := eval.Perplexity(context.Background(), pefttest.Base(run.base), pefttest.Scaled(run.adapters), evalIDs,
			eval.PerplexityOptions{Ctx: 256})
		if err != nil {
			t.Fatal(err)
		}
		figures[i] = r.Perplexity
	}
	if math.Abs(figures[2]/figures[1]-1) > 1e-5 || figures[1] > 0.8*figures[0] {
		t.Errorf("perplexities: base %v, with the adapter %v, merged %v", figures[0], figures[1], figures[2])
	}
}
