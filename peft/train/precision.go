package train

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/dist"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// Values of Options.Precision: how the numbers that go into products with frozen matrices are rounded. Adapters,
// norms, attention, loss and all sums are float32 with each of them.
const (
	PrecisionF32  = "f32"  // not at all
	PrecisionBF16 = "bf16" // to bfloat16
	PrecisionInt8 = "int8" // to 8 bits and a scale a block
	// PrecisionAuto is int8 where the base is quantized, the processor has instructions for it, and rounding does
	// little harm (see Chosen); elsewhere bf16 where the processor multiplies bfloat16 faster than float32, or f32.
	PrecisionAuto = "auto"
)

// ParsePrecision is the precision of a name. For PrecisionAuto it is that of a base that is not quantized.
func ParsePrecision(name string) (kernels.Precision, error) {
	switch name {
	case PrecisionF32:
		return kernels.F32, nil
	case PrecisionBF16:
		return kernels.BF16, nil
	case PrecisionInt8:
		return kernels.Int8, nil
	case PrecisionAuto:
		return kernels.AutoPrecision(), nil
	}
	return 0, fmt.Errorf("precision %q is not known, expected %s, %s, %s or %s", name, PrecisionF32, PrecisionBF16,
		PrecisionInt8, PrecisionAuto)
}

// AutoPrecision is the precision that PrecisionAuto means over quantized weights, rates and checks aside: int8 where
// the processor has instructions for it.
func AutoPrecision() kernels.Precision {
	if kernels.HasInt8() {
		return kernels.Int8
	}
	return kernels.AutoPrecision()
}

// Chosen is the precision of a run and why it is that. With PrecisionAuto it is int8 where all of this holds:
//
//   - most weights of the base are in quantized blocks: what runs it rounds activations to 8 bits too,
//   - the processor has instructions for it,
//   - the learning rate is at most what 2e-3 is for a LoRA: up to there losses were measured to stay near those in
//     float32 (docs/performance.md, "Precision"),
//   - before the first step, loss and gradient of up to 128 tokens of the first batch are near those in float32.
//
// The choice depends on the processor's instructions, the base, the adapter, the data and the options alone. A run that
// is resumed keeps that of its checkpoint.
type Chosen struct {
	Precision string `json:"precision"`
	Reason    string `json:"reason"`
	// Deviations of int8 from float32 in the check before the first step; 0 where there was none.
	LossDeviation     float64 `json:"loss_deviation,omitempty"`     // |int8/f32 - 1| of the loss
	GradientDeviation float64 `json:"gradient_deviation,omitempty"` // 1 - the cosine of the gradients

	provisional bool // the check is to come
}

const (
	int8Rate      = 2e-3 // the highest rate of a LoRA at which auto takes int8
	checkedTokens = 128  // of the check

	// The most that int8 may deviate in the check: twice what was measured where training stays near that in float32.
	mostLossDeviation     = 0.01
	mostGradientDeviation = 0.02
)

// choose is what is known of the precision before the first batch was looked at.
func choose(b *attach.Base, a *attach.Adapter, opt *Options) (kernels.Precision, Chosen, error) {
	precision, err := ParsePrecision(opt.Precision)
	if err != nil || opt.Precision != PrecisionAuto {
		return precision, Chosen{Precision: precision.String(), Reason: "as asked for"}, err
	}
	rate := loraRate(b, a, opt.LR)
	why := ""
	switch {
	case !mostlyQuantized(b):
		why = "the base is not quantized"
	case !kernels.HasInt8():
		why = "this processor has no instructions for products of bytes"
	case rate > int8Rate*1.0001:
		why = fmt.Sprintf("the learning rate is like one of %.2g for a LoRA, and above %.2g int8 follows float32 less "+
			"closely", rate, int8Rate)
	default:
		return kernels.Int8, Chosen{Precision: PrecisionInt8, Reason: "the base is quantized", provisional: true}, nil
	}
	return precision, Chosen{Precision: precision.String(), Reason: why}, nil
}

// loraRate is the rate of a LoRA that is as high, compared with the suggested one, as a rate of this adapter.
func loraRate(b *attach.Base, a *attach.Adapter, lr float64) float64 {
	return lr * attach.SuggestLR(b) / a.SuggestLR(b)
}

// mostlyQuantized reports whether most weights of the linear maps are in quantized blocks.
func mostlyQuantized(b *attach.Base) bool {
	var all, quantized int
	for _, l := range b.Model.Linears() {
		n := l.W.Rows * l.W.Cols
		all += n
		if quant.Quantized(l.W.Type) {
			quantized += n
		}
	}
	return quantized > all/2
}

// settle finishes the choice before the first step: it computes loss and gradient of some tokens of the first batch in
// both precisions. A run that is repeated chooses alike.
func (t *trainer) settle(ctx context.Context) error {
	c := t.chosen
	if !c.provisional {
		return nil
	}
	b, err := t.checked()
	if err != nil {
		return err
	}
	precision := kernels.Int8
	if n := b.TargetCount(); n > 0 {
		if err := t.check(ctx, b, &c); err != nil {
			return err
		}
		found := fmt.Sprintf("over %d tokens int8 changes the loss by %.2g %% and the gradient's direction by %.2g %%", n,
			100*c.LossDeviation, 100*c.GradientDeviation)
		c.Reason += ", and " + found
		if !(c.LossDeviation <= mostLossDeviation && c.GradientDeviation <= mostGradientDeviation) {
			precision = kernels.AutoPrecision()
			c.Reason = fmt.Sprintf("%s, above %g and %g %%", found, 100*mostLossDeviation, 100*mostGradientDeviation)
		}
	}
	c.Precision, c.provisional = precision.String(), false
	t.mu.Lock()
	defer t.mu.Unlock()
	t.chosen, t.gradients.precision = c, precision
	return nil
}

// check compares loss and gradient of a batch in int8 with those in float32.
func (t *trainer) check(ctx context.Context, b *batch.Batch, c *Chosen) error {
	s := stepBatches{batches: []*batch.Batch{b}}
	both := *t.gradients
	both.comm = dist.Single{}
	both.precision = kernels.F32
	loss, err := both.compute(ctx, s)
	if err != nil {
		return err
	}
	exact := slices.Clone(t.bound.Grads)
	both.precision = kernels.Int8
	rounded, err := both.compute(ctx, s)
	if err != nil {
		return err
	}
	c.LossDeviation, c.GradientDeviation = math.Abs(rounded/loss-1), turned(exact, t.bound.Grads)
	return nil
}

// turned is 1 less the cosine of the angle between two gradients.
func turned(x, y []float32) float64 {
	xx, yy := kernels.SumSquares(x), kernels.SumSquares(y)
	if xx == 0 && yy == 0 {
		return 0
	}
	var xy float64
	for i, v := range x {
		xy += float64(v) * float64(y[i])
	}
	return max(0, 1-xy/math.Sqrt(xx*yy))
}

// checked are some neighbouring tokens of the first batch: those with the most targets.
func (t *trainer) checked() (*batch.Batch, error) {
	var b batch.Batch
	if err := t.train.Batch(&b, t.epochBatches(0)[0]); err != nil {
		return nil, err
	}
	part := b.Window(checkedTokens)
	t.bound.Expand(part)
	return part, nil
}

// keep takes over the precision of the checkpoint that a run is resumed from, where it was chosen. Before the first
// step it is chosen again.
func (t *trainer) keep(saved *checkpoint) error {
	if t.opt.Precision != PrecisionAuto {
		return nil
	}
	if saved.State.Step == 0 {
		saved.Precision = t.gradients.precision.String()
		return nil
	}
	precision, err := ParsePrecision(saved.Precision)
	if err != nil || saved.Precision == PrecisionAuto {
		return fmt.Errorf("precision %q, expected one that can be resumed with", saved.Precision)
	}
	t.gradients.precision = precision
	t.chosen = Chosen{Precision: saved.Precision, Reason: "that of the checkpoint"}
	return nil
}
