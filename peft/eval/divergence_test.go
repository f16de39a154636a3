package eval_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/eval"
	"github.com/peftconv/peftconv/peft/method"
)

// TestDivergence computes the definition one window at a time, and wants the same figures from a model and from a file,
// for any number of threads.
func TestDivergence(t *testing.T) {
	defer kernels.SetThreads(0)
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a := pefttest.Trained(t, b, method.LoRA{})
	adapters := pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}})
	bound, err := a.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]int32, 50)
	for i := range ids {
		ids[i] = int32(3 + i*7%40)
	}
	const size = 12
	all := append([]int32{1}, ids...)
	vocab := b.Model.Spec.Vocab
	var sum, loss, baseLoss float64
	n := 0
	for w := range len(all) / size {
		one := &batch.Batch{}
		one.Append(append([]int32{1}, all[w*size+1:(w+1)*size]...), nil)
		base, changed := pefttest.AllLogits(b, model.NoHooks{}, one), pefttest.AllLogits(b, bound, one)
		for i := size / 2; i < size-1; i++ {
			p, q := base[i*vocab:][:vocab], changed[i*vocab:][:vocab]
			zp, zq := crossEntropy(p, 0)+float64(p[0]), crossEntropy(q, 0)+float64(q[0])
			for j := range p {
				l := float64(p[j]) - zp
				sum += math.Exp(l) * (l - float64(q[j]) + zq)
			}
			loss += crossEntropy(q, one.IDs[i+1])
			baseLoss += crossEntropy(p, one.IDs[i+1])
			n++
		}
	}
	path := filepath.Join(t.TempDir(), "base.logits")
	ctx, opt := context.Background(), eval.PerplexityOptions{Ctx: size}
	if err := eval.SaveLogProbs(ctx, path, pefttest.Base(b), nil, ids, opt); err != nil {
		t.Fatal(err)
	}
	var first *eval.Figures
	for _, threads := range []int{1, 3} {
		kernels.SetThreads(threads)
		file, err := eval.OpenLogProbs(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		for _, reference := range []*eval.Reference{eval.ReferenceModel(pefttest.Base(b)), file} {
			f, err := eval.Divergence(ctx, pefttest.Base(b), adapters, ids, reference, opt)
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = f
			}
			if !reflect.DeepEqual(f, first) {
				t.Errorf("%d threads: %+v, before %+v", threads, f, first)
			}
		}
	}
	scored := float64(n)
	if first.Tokens != n || math.Abs(first.Divergence.Value-sum/scored) > 1e-4 ||
		math.Abs(math.Log(first.Perplexity.Value)-loss/scored) > 1e-5 ||
		math.Abs(math.Log(first.BasePerplexity.Value)-baseLoss/scored) > 2e-4 {
		t.Errorf("found %+v, expected a divergence of %v and losses of %v and %v over %d tokens", first, sum/scored,
			loss/scored, baseLoss/scored, n)
	}
	if first.Divergence.Value < 1e-3 {
		t.Error("the adapter changes nothing: the test shows nothing")
	}
}

// TestDivergenceRefused compares what cannot be compared.
func TestDivergenceRefused(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	wide := pefttest.Tiny
	wide.Vocab = 400
	other := pefttest.OpenBase(t, wide.WriteGGUF(t))
	ids := make([]int32, 40)
	ctx, opt := context.Background(), eval.PerplexityOptions{Ctx: 16}
	path := filepath.Join(t.TempDir(), "other.logits")
	if err := eval.SaveLogProbs(ctx, path, pefttest.Base(other), nil, ids, opt); err != nil {
		t.Fatal(err)
	}
	file, err := eval.OpenLogProbs(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for want, reference := range map[string]*eval.Reference{
		"expected the same one":    eval.ReferenceModel(pefttest.Base(other)),
		"log probabilities of":     file,
		"context canceled":         eval.ReferenceModel(pefttest.Base(b)),
		"less than one window of ": eval.ReferenceModel(pefttest.Base(b)),
	} {
		run, text := ctx, ids
		if want == "context canceled" {
			run = pefttest.Cancelled()
		} else if strings.HasPrefix(want, "less") {
			text = ids[:3]
		}
		_, err := eval.Divergence(run, pefttest.Base(b), nil, text, reference, opt)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, expected an error with %q", err, want)
		}
	}
	left := filepath.Join(t.TempDir(), "left.logits")
	if err := eval.SaveLogProbs(pefttest.Cancelled(), left, pefttest.Base(b), nil, ids, opt); err == nil {
		t.Error("a cancelled run wrote a file")
	}
	if entries, err := os.ReadDir(filepath.Dir(left)); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
