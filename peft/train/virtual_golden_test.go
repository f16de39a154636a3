package train

import (
	"context"
	"encoding/json"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/dataset"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/virtual"
	"github.com/peftconv/peftconv/peft/eval"
	"github.com/peftconv/peftconv/peft/method"
)

// virtualCases are the runs of methods with virtual tokens, and for how many steps each can be followed to 1e-4.
var virtualCases = map[string]int{"prompt_tuning": 20, "prefix_tuning": 20, "prefix_tuning_proj": 20,
	"p_tuning_lstm": 20, "p_tuning_mlp": 20}

// virtualVector is a tensor of the reference: PEFT trains under other names than it saves.
func (c *peftCase) virtualVector(t *testing.T, kind, name string) []float32 {
	t.Helper()
	if name == virtual.PromptTensor {
		name = "prompt_encoder.embedding.weight"
	}
	x := c.vectors.Tensor(kind + "." + strings.Replace(name, "prompt_encoder.", "prompt_encoder.default.", 1))
	if x == nil {
		t.Fatalf("the reference has no %s of %s", kind, name)
	}
	values, err := x.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// virtualTrainer starts the run of a case, whose adapter is in the form that is trained.
func (c *peftCase) virtualTrainer(t *testing.T) *trainer {
	t.Helper()
	a, err := attach.Load(filepath.Join(c.dir, "init"))
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := a.Method.(interface {
		EncoderShapes(b *attach.Base) map[string][]int
	}); ok {
		shapes := m.EncoderShapes(c.baseForCase)
		if a, err = attach.NewAdapter(c.baseForCase, a.Config, shapes,
			func(p *attach.Param) { copy(p.Data, c.virtualVector(t, "init", p.Name)) }); err != nil {
			t.Fatal(err)
		}
	}
	opt := Options{Steps: c.Steps, LR: c.Optimizer.LR, WeightDecay: c.Optimizer.WeightDecay,
		Schedule: c.Optimizer.Schedule}
	tr, err := newTrainer(c.baseForCase, a, c.sequences, nil, plain(opt))
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// virtualBatch is the batch of a step: in PEFT every token carries loss, the first one too.
func (c *peftCase) virtualBatch(step int, hooks interface{ Expand(*batch.Batch) }) *batch.Batch {
	b := &batch.Batch{}
	for i := range c.perStep {
		ids := c.sequences.Examples[step*c.perStep+i].IDs
		b.Append(ids, slices.Repeat([]bool{true}, len(ids)))
	}
	hooks.Expand(b)
	return b
}

// TestVirtualRuns repeats PEFT's runs, as TestPEFTRuns does.
func TestVirtualRuns(t *testing.T) {
	for name, horizon := range virtualCases {
		t.Run(name, func(t *testing.T) {
			c := openCase(t, name)
			tr := c.virtualTrainer(t)
			if _, err := tr.gradients.compute(context.Background(),
				stepBatches{batches: []*batch.Batch{c.virtualBatch(0, tr.bound)}}); err != nil {
				t.Fatal(err)
			}
			for _, p := range attach.Views(tr.adapter.Tensors, tr.bound.Grads) {
				err, reference := pefttest.Relative(p.Data, c.virtualVector(t, "grad64", p.Name)),
					pefttest.Relative(c.virtualVector(t, "grad", p.Name), c.virtualVector(t, "grad64", p.Name))
				if err > max(1e-4, 2*reference) {
					t.Errorf("the gradient of %s is off by %.2g, PEFT's by %.2g", p.Name, err, reference)
				}
			}
			for i := range c.Steps {
				loss, _, err := tr.step(context.Background(), stepBatches{batches: []*batch.Batch{c.virtualBatch(i, tr.bound)}},
					tr.schedule.at(i))
				if err != nil {
					t.Fatal(err)
				}
				tr.state.Step++
				limit := 1e-4
				if i >= horizon {
					limit = 5e-3
				}
				if math.Abs(loss-c.Losses[i]) > limit {
					t.Errorf("step %d has loss %.6f, expected %.6f", i+1, loss, c.Losses[i])
				}
			}
			if horizon < c.Steps {
				return
			}
			for _, p := range attach.Views(tr.adapter.Tensors, tr.bound.Values) {
				if err := pefttest.Relative(p.Data, c.virtualVector(t, "final", p.Name)); err > 1e-3 {
					t.Errorf("final of %s is off by %.2g", p.Name, err)
				}
			}
		})
	}
}

// TestVirtualLogits compares the logits of the first batch before and after PEFT's training, and the loss of a batch in
// which some tokens are padding and some carry no loss.
func TestVirtualLogits(t *testing.T) {
	for name := range virtualCases {
		t.Run(name, func(t *testing.T) {
			c := openCase(t, name)
			for _, kind := range []string{"init", "final"} {
				a, err := attach.Load(filepath.Join(c.dir, kind))
				if err != nil {
					t.Fatal(err)
				}
				hooks, err := attach.BindAll(c.baseForCase, []attach.Scaled{{Adapter: a, Scale: 1}})
				if err != nil {
					t.Fatal(err)
				}
				want, err := c.vectors.Tensor("logits." + kind).Float32s()
				if err != nil {
					t.Fatal(err)
				}
				got := pefttest.AllLogits(c.baseForCase, hooks, c.virtualBatch(0, hooks))
				if err := pefttest.Relative(got, want); err > 1e-5 || len(got) != len(want) {
					t.Errorf("%d logits.%s are off by %.2g, expected %d", len(got), kind, err, len(want))
				}
				if kind == "final" {
					continue
				}
				loss, err := eval.Loss(context.Background(), pefttest.Base(c.baseForCase),
					pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), pefttest.Data(c.masked(t)), 0)
				if err != nil || math.Abs(loss.Loss-c.MaskedInit) > 1e-4 {
					t.Errorf("the masked batch has loss %+v, %v, expected %.6f", loss, err, c.MaskedInit)
				}
			}
		})
	}
}

// TestSavedAsPEFT: what PEFT wrote is written again as it was.
func TestSavedAsPEFT(t *testing.T) {
	for name := range virtualCases {
		c := openCase(t, name)
		a, err := attach.Load(filepath.Join(c.dir, "final"))
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "saved")
		if err := a.SaveDir(dir); err != nil {
			t.Fatal(err)
		}
		ours, theirs := pefttest.OpenTensors(t, filepath.Join(dir, attach.WeightsFile)),
			pefttest.OpenTensors(t, filepath.Join(c.dir, "final", attach.WeightsFile))
		for _, x := range theirs.Tensors {
			y := ours.Tensor(x.Name)
			if y == nil || !slices.Equal(x.Shape, y.Shape) || !slices.Equal(x.Bytes(), y.Bytes()) {
				t.Errorf("%s: tensor %s is not the same", name, x.Name)
			}
		}
		if len(ours.Tensors) != len(theirs.Tensors) {
			t.Errorf("%s: %d tensors, expected %d", name, len(ours.Tensors), len(theirs.Tensors))
		}
		want, got := jsonFields(t, filepath.Join(c.dir, "final", attach.ConfigFile)),
			jsonFields(t, filepath.Join(dir, attach.ConfigFile))
		for field, value := range got {
			if want[field] != value {
				t.Errorf("%s: field %s is %v, PEFT has %v", name, field, value, want[field])
			}
		}
	}
}

// jsonFields are the fields of a file that are no lists or objects.
func jsonFields(t *testing.T, path string) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(pefttest.FileBytes(t, path), &fields); err != nil {
		t.Fatal(err)
	}
	return fields
}

// TestSeveralAdapters: a LoRA and two prompts at once, the first prompt first in front of the text.
func TestSeveralAdapters(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	lora := pefttest.Trained(t, b, method.LoRA{Rank: 2, Seed: 1})
	first, err := virtual.NewPromptTuning(b, method.PromptTuning{VirtualTokens: 2, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	second, err := virtual.NewPromptTuning(b, method.PromptTuning{VirtualTokens: 3, Seed: 2})
	if err != nil {
		t.Fatal(err)
	}
	hooks, err := attach.BindAll(b, []attach.Scaled{{Adapter: lora, Scale: 1}, {Adapter: first, Scale: 1},
		{Adapter: second, Scale: 1}})
	if err != nil {
		t.Fatal(err)
	}
	ids := attach.Expanded(hooks, []int32{5, 6})
	if want := []int32{-1, -2, -3, -4, -5, 5, 6}; !slices.Equal(ids, want) {
		t.Errorf("ids %v, expected %v", ids, want)
	}
	joined, err := virtual.NewPromptTuning(b, method.PromptTuning{VirtualTokens: 5, Seed: 2})
	if err != nil {
		t.Fatal(err)
	}
	copy(joined.Flat, slices.Concat(first.Flat, second.Flat))
	data := &dataset.Set{Examples: pefttest.TinyData(4, 9).Examples}
	apart, err := eval.Loss(context.Background(), pefttest.Base(b),
		pefttest.Scaled([]attach.Scaled{{Adapter: lora, Scale: 1}, {Adapter: first, Scale: 1},
			{Adapter: second, Scale: 1}}), pefttest.Data(data), 0)
	if err != nil {
		t.Fatal(err)
	}
	together, err := eval.Loss(context.Background(), pefttest.Base(b),
		pefttest.Scaled([]attach.Scaled{{Adapter: joined, Scale: 1}, {Adapter: lora, Scale: 1}}), pefttest.Data(data), 0)
	if err != nil || math.Abs(apart.Loss-together.Loss) > 1e-6 {
		t.Errorf("two prompts have loss %.6f, the same in one %+v, %v", apart.Loss, together, err)
	}
}
