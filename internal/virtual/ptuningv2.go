package virtual

import (
	"errors"
	"fmt"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/kernels"
)

// Forms of P-tuning v2.
const (
	FormHidden = "hidden" // vectors at each block's input, of which its own norm and projections make keys and values
	FormKV     = "kv"     // keys and values, as the authors' code has it
)

// PTuningV2Options says what NewPTuningV2 makes. The zero value is 20 vectors at each block's input that start as those of
// random tokens.
type PTuningV2Options struct {
	PromptOptions
	Form    string          // FormHidden ("" is the same) or FormKV
	Classes *attach.Classes // labels of a classification; nil: a language model
}

// Check reports values that make no sense together.
func (opt *PTuningV2Options) Check() error {
	if opt.Form != "" && opt.Form != FormHidden && opt.Form != FormKV {
		return fmt.Errorf("form %q is not known, expected %s or %s", opt.Form, FormHidden, FormKV)
	}
	if opt.Classes != nil && len(opt.Classes.Labels) < 2 {
		return errors.New("a classification needs two labels or more")
	}
	return opt.PromptOptions.Check()
}

// NewPTuningV2 makes an adapter for P-tuning v2 (Liu et al. 2022). What stays of it after training is a prefix: the keys
// and values that the blocks make of the vectors. With Classes that are not words a linear head over the last token is
// trained as well.
func NewPTuningV2(b *attach.Base, opt PTuningV2Options) (*attach.Adapter, error) {
	if err := opt.Check(); err != nil {
		return nil, fmt.Errorf("new adapter: %w", err)
	}
	ids, err := opt.ids(b)
	if err != nil {
		return nil, fmt.Errorf("new adapter: %w", err)
	}
	s := newPrefixSettings(b, opt.VirtualTokens)
	c := attach.Config{Method: MethodPrefixTuning, BaseModel: opt.BaseModel, Classes: opt.Classes, Settings: s}
	shapes := map[string][]int{hiddenPrompts: {s.Tokens, s.Layers * b.Model.Spec.Width}}
	if opt.Form == FormKV {
		shapes = map[string][]int{PromptTensor: {s.Tokens, s.cols()}}
	}
	if opt.Classes != nil && !opt.Classes.Words {
		s.Task = taskClasses
		shapes[ScoreTensor] = []int{len(opt.Classes.Labels), b.Model.Spec.Width}
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

// startHidden fills vectors at the blocks' inputs with those of tokens, at random where there are none. Each is divided by
// its root mean square, which the norm that follows takes no notice of: so one learning rate fits all layers.
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
	c := &streamCollector{inputs: make([][]float32, len(b.Model.Layers))}
	b.Model.Hidden(tape, &packed, c)
	return c.inputs
}

// streamCollector keeps what goes into each block.
type streamCollector struct {
	model.NoHooks
	inputs [][]float32
}

// Embedding keeps the input of the first block.
func (c *streamCollector) Embedding(_ *autograd.Tape, _ []int32, x *autograd.Tensor) *autograd.Tensor {
	c.keep(0, x)
	return x
}

// Stream keeps the inputs of the others.
func (c *streamCollector) Stream(_ *autograd.Tape, l *model.Layer, p model.Part, x *autograd.Tensor) *autograd.Tensor {
	if p == model.FFN {
		c.keep(l.Index+1, x)
	}
	return x
}

func (c *streamCollector) keep(layer int, x *autograd.Tensor) {
	if layer < len(c.inputs) {
		c.inputs[layer] = append([]float32(nil), x.Data...)
	}
}
