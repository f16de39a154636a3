package train

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/distill"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft"
)

// Teacher is a model whose probabilities a run learns: the loss is (1-Alpha)·cross entropy + Alpha·T²·KL(teacher ‖
// model), over the whole vocabulary unless Top is set, for each token that carries loss (Hinton et al. 2015). Its
// vocabulary has to be that of the base.
type Teacher struct {
	Base        *peft.Base
	Adapters    []peft.Scaled
	Alpha       float64 // above 0, at most 1; 0: DefaultAlpha
	Temperature float64 // T; 0: 1
	// Top counts only the teacher's likeliest tokens of each position, as many as it says, and all others as one.
	// They are kept, in half precision, so that the teacher runs in the first epoch only. 0: the whole vocabulary, in
	// each epoch.
	Top int
}

// Retention is a text on which the adapted base keeps the probabilities that the base has without the adapter. Weight
// times the mean of KL(base ‖ model) over one of its batches is added to the loss of each step.
type Retention struct {
	Data   *peft.Data
	Weight float64 // 0: 1
	Tokens int     // the most of a step's batch of it; 0: DefaultRetained
}

const (
	DefaultAlpha    = 0.5
	DefaultRetained = 512
)

// check reports values that make no sense.
func (t *Teacher) check() error {
	if !(t.Alpha > 0 && t.Alpha <= 1) {
		return fmt.Errorf("the divergence's share of the loss is %v, expected above 0 and at most 1", t.Alpha)
	}
	if !(t.Temperature > 0) || math.IsInf(t.Temperature, 0) {
		return fmt.Errorf("temperature %v, expected a finite number above 0", t.Temperature)
	}
	if most := handle.Base(t.Base).Model.Spec.Vocab; t.Top < 0 || t.Top > most {
		return fmt.Errorf("%d likeliest tokens of a teacher, expected 0 to %d, the size of the vocabulary", t.Top, most)
	}
	return nil
}

// check reports values that make no sense.
func (r *Retention) check() error {
	if !(r.Weight > 0) || math.IsInf(r.Weight, 0) {
		return fmt.Errorf("weight %v of what is to be retained, expected a finite number above 0", r.Weight)
	}
	if r.Tokens < 2 {
		return fmt.Errorf("%d tokens of a batch of what is to be retained, expected 2 or more", r.Tokens)
	}
	return nil
}

// teach fills in what is not given of teacher and retention, in copies.
func (opt *Options) teach() {
	if opt.Teacher != nil {
		t := *opt.Teacher
		if t.Alpha == 0 {
			t.Alpha = DefaultAlpha
		}
		if t.Temperature == 0 {
			t.Temperature = 1
		}
		opt.Teacher = &t
	}
	if opt.Retain != nil {
		r := *opt.Retain
		if r.Weight == 0 {
			r.Weight = 1
		}
		if r.Tokens == 0 {
			r.Tokens = DefaultRetained
		}
		opt.Retain = &r
	}
}

// guide is a model whose probabilities are learned: a teacher, or the base without the adapter.
type guide struct {
	base      *attach.Base
	hooks     attach.Stack
	tape      *autograd.Tape
	packed    batch.Batch
	index     []int // rows with a target
	rows      model.LogitRows
	criterion distill.Criterion
	tops      *topTokens // nil: the whole vocabulary counts
}

// newGuide makes a guide of a model with adapters.
func newGuide(b *attach.Base, adapters []attach.Scaled, alpha, temperature float64) (*guide, error) {
	hooks, err := attach.BindAll(b, adapters)
	if err != nil {
		return nil, err
	}
	g := &guide{base: b, hooks: hooks, tape: autograd.NewTape()}
	g.tape.Record(false)
	g.criterion = distill.Criterion{Alpha: float32(alpha), Temperature: float32(temperature), Teacher: g.rows.Block}
	return g, nil
}

// over runs the guide over a batch without virtual tokens, unless what it gives is kept; the batch is of the given
// examples of the training data, where they are some of it. The criterion is for the same batch with the virtual
// tokens of the adapter that learns.
func (g *guide) over(ctx context.Context, plain, learned *batch.Batch, examples []int,
	p kernels.Precision) (autograd.Criterion, error) {
	for _, id := range plain.IDs {
		if id < 0 {
			return nil, errors.New("the adapter's template has virtual tokens, which a teacher does not know")
		}
	}
	g.packed.Copy(plain)
	g.hooks.Expand(&g.packed)
	g.index = g.index[:0]
	for i, target := range g.packed.Targets {
		if target != batch.Ignore {
			g.index = append(g.index, i)
		}
	}
	if n := learned.TargetCount(); n != len(g.index) {
		return nil, fmt.Errorf("the adapter predicts %d tokens of a batch, the teacher %d: virtual tokens predict the first "+
			"token of an example, which a teacher without them cannot", n, len(g.index))
	}
	if g.tops != nil {
		if g.tops.begin(len(g.index)); g.tops.load(plain, examples) {
			return &g.criterion, nil
		}
	}
	g.tape.Precision(p)
	g.rows.Precision = p
	return &g.criterion, g.tape.Until(ctx, func() error {
		g.tape.Reset(0)
		g.rows.Run(g.base.Model, g.tape, &g.packed, g.hooks, g.index)
		if g.tops != nil {
			g.tops.take(&g.rows, len(g.index), plain, examples)
		}
		return nil
	})
}

// retention is a text whose probabilities are kept, and where the run stands in it.
type retention struct {
	guide          *guide
	data           *attach.Data
	weight         float64
	epoch          int
	batches        [][]int     // of the epoch
	plain, learned batch.Batch // of the step, without virtual tokens and with them
	loss           float64     // the mean divergence of the last step
}

// fill makes the batch of a step and moves the state over it.
func (r *retention) fill(opt *Options, bound *attach.Bound, s *trainState) error {
	if r.batches == nil || r.epoch != s.RetainEpoch {
		r.epoch, r.batches = s.RetainEpoch, r.data.Pack(r.data.Order(s.RetainEpoch, opt.Seed), opt.Retain.Tokens)
	}
	if s.RetainBatch >= len(r.batches) {
		s.RetainEpoch, s.RetainBatch = s.RetainEpoch+1, 0
		return r.fill(opt, bound, s)
	}
	r.plain.Reset()
	if err := r.data.Batch(&r.plain, r.batches[s.RetainBatch]); err != nil {
		return err
	}
	s.RetainBatch++
	r.learned.Copy(&r.plain)
	bound.Expand(&r.learned)
	return nil
}

// guided prepares teacher and retention of a run.
func (t *trainer) guided() (err error) {
	if teacher := t.opt.Teacher; teacher != nil {
		if err := teacher.check(); err != nil {
			return err
		}
		b := handle.Base(teacher.Base)
		if err := attach.SameVocabulary(t.base, b); err != nil {
			return fmt.Errorf("teacher: %w", err)
		}
		if t.train.Classes > 0 {
			return errors.New("a teacher has probabilities of tokens, not of classes")
		}
		t.gradients.teacher, err = newGuide(b, handle.Scaled(teacher.Adapters), teacher.Alpha, teacher.Temperature)
		if err != nil {
			return fmt.Errorf("teacher: %w", err)
		}
		if g := t.gradients.teacher; teacher.Top > 0 {
			if g.tops, err = newTopTokens(t.train, &t.opt); err != nil {
				return err
			}
			g.criterion.Top = g.tops.row
		}
	}
	if retain := t.opt.Retain; retain != nil {
		if err := retain.check(); err != nil {
			return err
		}
		data := handle.Data(retain.Data)
		if t.adapter.Classifies() || data.Classes > 0 {
			return errors.New("what a base knows can be retained only where tokens are predicted, not classes")
		}
		if err := attach.CheckSet(t.base, data, 0, t.adapter); err != nil {
			return fmt.Errorf("data to retain: %w", err)
		}
		g, err := newGuide(t.base, nil, 1, 1)
		if err != nil {
			return err
		}
		t.gradients.retained = &retention{guide: g, data: data, weight: retain.Weight}
	}
	return nil
}

// objective names what is learned beside the tokens of the data, with hashes; "": nothing.
func (opt *Options) objective() (string, error) {
	text := ""
	if teacher := opt.Teacher; teacher != nil {
		sum, err := handle.Base(teacher.Base).SHA256()
		if err != nil {
			return "", err
		}
		text = "distill from " + sum
		for _, a := range handle.Scaled(teacher.Adapters) {
			text += fmt.Sprintf(" + %v of %s", a.Scale, valuesHash(a.Adapter))
		}
		text += fmt.Sprintf(", alpha %v, temperature %v", teacher.Alpha, teacher.Temperature)
		if teacher.Top > 0 {
			text += fmt.Sprintf(", the %d likeliest", teacher.Top)
		}
	}
	if retain := opt.Retain; retain != nil {
		sum, err := handle.Data(retain.Data).Hash()
		if err != nil {
			return "", err
		}
		if text != "" {
			text += "; "
		}
		text += fmt.Sprintf("retain %s, weight %v, %d tokens", sum, retain.Weight, retain.Tokens)
	}
	return text, nil
}

// valuesHash is the SHA-256 of an adapter's values.
func valuesHash(a *attach.Adapter) string {
	h := sha256.New()
	var b [4]byte
	for _, v := range a.Flat {
		binary.LittleEndian.PutUint32(b[:], math.Float32bits(v))
		h.Write(b[:])
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// guideBytes is the memory that teacher and retention take.
func (opt *Options) guideBytes(b *attach.Base, tokens int) int64 {
	var weights, pass int64
	if opt.Teacher != nil {
		teacher := handle.Base(opt.Teacher.Base)
		for _, l := range teacher.Model.Matrices() {
			weights += int64(len(l.W.Data))
		}
		pass = teacher.Model.ForwardBytes(tokens)
	}
	if opt.Retain != nil {
		pass += b.Model.ForwardBytes(opt.Retain.Tokens)
	}
	return weights + pass
}
