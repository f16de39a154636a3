package virtual

import (
	"errors"
	"fmt"
	"slices"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/method"
)

// checkPTuningV2 reports options that make no sense together.
func checkPTuningV2(opt *method.PTuningV2) error {
	if opt.Form != "" && opt.Form != method.FormHidden && opt.Form != method.FormKV {
		return fmt.Errorf("form %q is not known, expected %s or %s", opt.Form, method.FormHidden, method.FormKV)
	}
	if opt.Labels != nil && len(opt.Labels) < 2 {
		return errors.New("a classification needs two labels or more")
	}
	return checkPrompt(&opt.PromptTuning)
}

func init() { attach.RegisterOptions(checkPTuningV2, NewPTuningV2) }

// NewPTuningV2 makes an adapter for P-tuning v2 (Liu et al. 2022). After training it is a prefix: the keys and values
// that the blocks make of the vectors. With labels that are not predicted as words a linear head over the last token is
// trained as well.
func NewPTuningV2(b *attach.Base, opt method.PTuningV2) (*attach.Adapter, error) {
	if err := checkPTuningV2(&opt); err != nil {
		return nil, fmt.Errorf("new adapter: %w", err)
	}
	ids, err := startTokens(b, &opt.PromptTuning)
	if err != nil {
		return nil, fmt.Errorf("new adapter: %w", err)
	}
	s, err := newPrefixSettings(b, opt.VirtualTokens)
	if err != nil {
		return nil, err
	}
	c := attach.Config{Method: MethodPrefixTuning, BaseModel: opt.BaseModel, Settings: s}
	if opt.Labels != nil {
		c.Classes = &attach.Classes{Labels: opt.Labels, Field: opt.LabelField, Words: opt.Words}
	}
	shapes := map[string][]int{hiddenPrompts: {s.Tokens, s.Layers * b.Model.Spec.Width}}
	if opt.Form == method.FormKV {
		shapes = map[string][]int{PromptTensor: {s.Tokens, s.cols()}}
	}
	if opt.Labels != nil && !opt.Words {
		s.Task = taskClasses
		shapes[ScoreTensor] = []int{len(opt.Labels), b.Model.Spec.Width}
	}
	var failed error
	a, err := attach.NewAdapter(b, c, shapes, func(p *attach.Param) {
		switch p.Name {
		case PromptTensor:
			failed = errors.Join(failed, startPrefix(b, s, p, ids, opt.Seed))
		case hiddenPrompts:
			startHidden(b, s, p, ids, opt.Seed)
		case ScoreTensor:
			prng.NewRandom(opt.Seed, p.Name).Normal(p.Data, 0.02)
		}
	})
	return a, errors.Join(err, failed)
}

// startHidden fills vectors at the blocks' inputs with those of tokens, at random where there are none. Each is divided
// by its root mean square, which the norm that follows ignores. So one learning rate fits all layers.
func startHidden(b *attach.Base, s *PrefixSettings, p *attach.Param, ids []int32, seed uint64) {
	if ids == nil {
		prng.NewRandom(seed, p.Name).Normal(p.Data, 1)
		return
	}
	inputs := blockInputs(b, ids)
	width := b.Model.Spec.Width
	for i := range s.Tokens {
		for layer, x := range inputs {
			row := p.Row(i, p.Cols())[layer*width:][:width]
			copy(row, x[i*width:])
			if scale := rootMeanSquare(row); scale > 0 {
				kernels.Scale(float32(1/scale), row)
			}
		}
	}
}

// blockInputs are the streams (n, D) at the input of every block for a sequence of tokens.
func blockInputs(b *attach.Base, ids []int32) [][]float32 {
	tape := autograd.NewTape()
	tape.Record(false)
	var packed batch.Batch
	packed.Append(ids, nil)
	x := b.Model.Embedded(tape, &packed, model.NoHooks{})
	var inputs [][]float32
	for i := range b.Model.Layers {
		inputs = append(inputs, slices.Clone(x.Data))
		x = b.Model.RunLayer(tape, &packed, model.NoHooks{}, i, x)
	}
	return inputs
}
