package train

import (
	"bytes"
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

// TestSplitBatch divides batches at examples.
func TestSplitBatch(t *testing.T) {
	data := pefttest.TinyData(24, 1)
	opt := Options{BatchTokens: 120}
	examples := opt.batches(data, 0)[0]
	for _, c := range []struct{ micro, parts int }{{1, len(examples)}, {120, 1}, {1000, 1}, {60, 0}} {
		opt.MicroBatch = c.micro
		parts := opt.split(nil, data, examples)
		if c.parts > 0 && len(parts) != c.parts || c.parts == 0 && (len(parts) < 2 || len(parts) >= len(examples)) {
			t.Errorf("parts of %d tokens: %d of %d examples", c.micro, len(parts), len(examples))
		}
		if !slices.Equal(slices.Concat(parts...), examples) {
			t.Errorf("parts of %d tokens are %v of %v", c.micro, parts, examples)
		}
		for _, part := range parts {
			tokens := 0
			for _, example := range part {
				tokens += data.Size(example)
			}
			if tokens > c.micro && len(part) > 1 {
				t.Errorf("a part of %d tokens, expected at most %d", tokens, c.micro)
			}
		}
	}
}

// TestMicroBatch wants the losses and the steps of a run whose batches go in parts to be those of one whose batches go
// whole, an interrupted run to end with the same bytes, and one with other parts to be refused.
func TestMicroBatch(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	run := func(out string, micro, stopAfter int, resume string) (losses []float64, file []byte, err error) {
		a, err := methods.NewLoRA(b, method.LoRA{Rank: 4})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		opt := plain(trainOptions(out))
		opt.BatchTokens, opt.MicroBatch, opt.Resume = 120, micro, resume
		opt.Observer = OnStep(func(p Progress) {
			losses = append(losses, p.Loss)
			if p.Step == stopAfter {
				cancel()
			}
		})
		if _, err = trainAdapter(ctx, b, a, pefttest.TinyData(48, 1), nil, opt); err == nil {
			file, err = os.ReadFile(out)
		}
		return losses, file, err
	}
	out := func() string { return filepath.Join(t.TempDir(), "out.safetensors") }
	whole, _, err := run(out(), 120, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	parts, file, err := run(out(), 40, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(whole) != len(parts) || len(whole) < 5 {
		t.Fatalf("%d steps whole, %d in parts", len(whole), len(parts))
	}
	for i, loss := range whole {
		if math.Abs(loss-parts[i]) > 1e-5*loss {
			t.Errorf("step %d: loss %v whole, %v in parts", i+1, loss, parts[i])
		}
	}
	path := out()
	if _, _, err := run(path, 40, 2, ""); err == nil {
		t.Fatal("the run was not interrupted")
	}
	if _, _, err := run(path, 60, 0, CheckpointPath(path)); err == nil ||
		!strings.Contains(err.Error(), "the run had micro-batch tokens 40, this one has 60") {
		t.Errorf("resumed with other parts: %v", err)
	}
	if _, resumed, err := run(path, 40, 0, CheckpointPath(path)); err != nil || !bytes.Equal(resumed, file) {
		t.Errorf("the resumed run wrote other bytes, or %v", err)
	}
}

// TestChosenMicroBatch wants small models to go whole and large ones in parts, as their sizes say, and the loss of
// routers to be of whole batches.
func TestChosenMicroBatch(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a, err := methods.NewLoRA(b, method.LoRA{Rank: 4})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		opt  Options
		want int
	}{
		{Options{BatchTokens: 2048}, 2048},
		{Options{BatchTokens: 1 << 24}, 1 << 18},
		{Options{BatchTokens: 1 << 24, RouterAuxLoss: 0.1}, 1 << 24},
		{Options{BatchTokens: 1 << 24, NoPacking: true}, 1 << 24},
	} {
		got := microBatch(b, a, &c.opt)
		if got != c.want {
			t.Errorf("%+v: %d tokens, want %d", c.opt, got, c.want)
		}
		if total := modelMemory(b, a, got, got, true).Total(); c.want < 1<<24 && total > 4e9 {
			t.Errorf("%d tokens take %.1f GB", got, float64(total)/1e9)
		}
	}
}
