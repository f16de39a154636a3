package train

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

// tall is a model of which the upper layers are adapted.
var tall = pefttest.TinyModel{Width: 32, Heads: 4, KeyHeads: 2, Ffn: 48, Layers: 4}

// above trains the last two of four layers and gives the parameters, and how many batches went through the lower
// layers.
func above(t *testing.T, b *attach.Base, opt Options) (params []float32, layers int, tr *trainer) {
	t.Helper()
	a, err := methods.NewLoRA(b, method.LoRA{Rank: 4, Dropout: 0.1, Seed: 3, Layers: "last:2"})
	if err != nil {
		t.Fatal(err)
	}
	tr, err = newTrainer(b, a, pefttest.TinyData(24, 1), nil, plain(opt))
	if err != nil {
		t.Fatal(err)
	}
	known := 0
	tr.opt.Observer = OnStep(func(Progress) {
		if tr.gradients.cache != nil {
			layers = tr.gradients.cache.layers
			known = len(slices.DeleteFunc(slices.Clone(tr.gradients.cache.known), func(k bool) bool { return !k }))
		}
	})
	if err := tr.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if tr.gradients.cache != nil && known != len(tr.gradients.cache.known) {
		t.Errorf("%d of %d examples are known at the end", known, len(tr.gradients.cache.known))
	}
	return tr.bound.Values, layers, tr
}

func layerCacheOptions(out string) Options {
	opt := trainOptions(out)
	opt.BatchTokens = 160
	return opt
}

// TestLayerCache wants the same bits from layers that run once and from layers that always run, and no file left.
func TestLayerCache(t *testing.T) {
	defer func(f func(int64) bool) { inMemory = f }(inMemory)
	b, dir := pefttest.OpenBase(t, tall.WriteGGUF(t)), t.TempDir()
	inMemory = func(int64) bool { return false }
	plain, layers, tr := above(t, b, layerCacheOptions(""))
	if tr.gradients.cache != nil || layers != 0 {
		t.Fatal("a run without memory and file keeps something")
	}
	for _, in := range []bool{true, false} {
		inMemory = func(int64) bool { return in }
		got, layers, _ := above(t, b, layerCacheOptions(filepath.Join(dir, "out.safetensors")))
		if layers != 2 {
			t.Errorf("in memory %v: it stands above %d layers, expected 2", in, layers)
		}
		if !slices.Equal(got, plain) {
			t.Errorf("in memory %v: layers that run once give other parameters", in)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%s is left", left[0].Name())
	}
}

// TestLayerCacheResume interrupts a run in its second epoch and wants the bytes of one that was not.
func TestLayerCacheResume(t *testing.T) {
	b := pefttest.OpenBase(t, tall.WriteGGUF(t))
	train := func(opt Options, ctx context.Context) error {
		a, err := methods.NewLoRA(b, method.LoRA{Rank: 4, Seed: 3, Layers: "last:1"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = trainAdapter(ctx, b, a, pefttest.TinyData(24, 1), nil, plain(opt))
		return err
	}
	opt := layerCacheOptions(filepath.Join(t.TempDir(), "out.safetensors"))
	steps := 0
	opt.Observer = OnStep(func(Progress) { steps++ })
	if err := train(opt, context.Background()); err != nil {
		t.Fatal(err)
	}
	whole := pefttest.FileBytes(t, opt.Out)
	ctx, cancel := context.WithCancel(context.Background())
	opt.Observer = OnStep(func(p Progress) {
		if p.Step == steps/2+1 {
			cancel()
		}
	})
	if err := train(opt, ctx); err == nil {
		t.Fatal("the run was not interrupted")
	}
	opt.Resume = CheckpointPath(opt.Out)
	opt.Observer = nil
	if err := train(opt, context.Background()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(pefttest.FileBytes(t, opt.Out), whole) {
		t.Error("the resumed run wrote other bytes")
	}
}

func TestLowestLayer(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  int
	}{
		{nil, 0},
		{[]string{"base_model.model.model.layers.3.q.lora_A.weight", "base_model.model.model.layers.12.q.lora_A.weight"}, 3},
		{[]string{"x.layers.3.q", "lm_head.lora_A.weight"}, 0},
		{[]string{"x.layers.a.q"}, 0}, {[]string{"x.layers.0.q", "x.layers.1.q"}, 0},
	} {
		var params []attach.Param
		for _, name := range c.names {
			params = append(params, attach.Param{Name: name})
		}
		params = append(params, attach.Param{Name: "shared", Frozen: true})
		if got := lowestLayer(params); got != c.want {
			t.Errorf("%v: %d, want %d", c.names, got, c.want)
		}
	}
}
