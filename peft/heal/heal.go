// Package heal gives a quantized model back a part of what quantizing it has lost. It has no new task: it brings a
// file's blocks near to a teacher, the model that the file was quantized from, and leaves types and size as they are.
//
// First the layers go one by one (reconstruction): the codes, scales and zero points of each matrix are searched for
// the least error of its products with the inputs that it gets in the quantized model, over a calibration text. The
// weights aimed at are those with which these inputs give what the teacher's inputs gave with its own weights. Then, if
// asked for, the whole model is trained end to end on the teacher's probabilities, quantization-aware, and merged.
package heal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/eval"
)

// Options says how Run heals. A zero field means what its comment says.
type Options struct {
	Tokens int // of the calibration text that each layer sees, evenly over all of it; 0: DefaultTokens
	// Training configures the training end to end after the layers; nil: none.
	Training *Training
	// Held is the tokens of a text that is not used otherwise: the divergence from the teacher is measured on it after
	// each stage. Ctx is the tokens of a window, 0: eval.DefaultWindow. Without Held nothing is measured.
	Held []int32
	Ctx  int
	// Resume goes on from what an interrupted run with the same inputs and options has left beside out.
	Resume bool
	// Progress is called after each matrix; may be nil.
	Progress func(Progress)
	// Measured is called after each measurement; may be nil.
	Measured func(Stage)
}

// DefaultTokens is how many tokens of the calibration text each layer sees.
const DefaultTokens = 32768

// How the blocks of a matrix are searched. The fewer tokens there are for each column, the less the sums over them are
// trusted: nearFew is multiplied by the columns of the matrix for each token.
const (
	near    = 0.1 // how strongly the weights aimed at are kept near the teacher's, as a share of the Hessian's diagonal
	nearFew = 4
	moves   = 8 // steps of conjugate gradients in which these move
	sweeps  = 1 // over the columns of a matrix
)

// Progress is a matrix whose blocks are made anew.
type Progress struct {
	Tensor         string
	Layer, Layers  int     // layers done, of all
	Before, After  float64 // the summed squared error of its products on the calibration text
	Done, Matrices int     // matrices done, of all
	Left           time.Duration
}

// A Stage is what was measured after one stage of healing.
type Stage struct {
	Name    string        `json:"stage"` // StageBase, StageLayers or StageTraining
	Figures *eval.Figures `json:"figures"`
}

// The stages.
const (
	StageBase     = "base"
	StageLayers   = "layers"
	StageTraining = "training"
)

// Result is a healed model.
type Result struct {
	Stages   []Stage `json:"stages,omitempty"`
	Matrices int     `json:"matrices"` // that were made anew
	// Error is the summed squared error of their products after the layers as a share of that before, the mean over the
	// matrices.
	Error float64 `json:"error"`
	// Kept is the stage whose model was written: StageLayers, or StageTraining unless that has a larger divergence.
	Kept string        `json:"kept"`
	Took time.Duration `json:"-"`
}

// healer is a run.
type healer struct {
	base, theirs     *attach.Base
	opt              Options
	student, teacher *stream
	pairs            map[*model.Linear]*model.Linear       // of the base's linear maps, the teacher's
	weights          map[*model.Linear]*requant.MasterRows // the teacher's, in the order of the base
	blocks           map[*model.Linear][]byte              // made so far
	out              string
	id               string  // of inputs and options
	done             int     // layers
	skipped          int     // of them, what an interrupted run had done
	made             int     // matrices
	ratios           float64 // sum over the matrices made
	start, saved     time.Time
	sizes            []float64 // weights of each layer
	// What is to be done in the layers: texts on their way, sums over inputs, searches of blocks.
	passing, summing, searching work
}

// Run writes to out the base with blocks near to a teacher's weights: the model that the base was quantized from, in
// floats or finer blocks, with the same vocabulary. data is the calibration text. Where ctx is cancelled, what is done
// is kept beside out for Options.Resume, and the error is an *Interrupted. Errors: a base that is not a GGUF file or
// has no blocks, a teacher of another shape, inputs that are not finite, too little memory.
func Run(ctx context.Context, b, teacher *peft.Base, data *peft.Data, out string, opt Options) (_ *Result, err error) {
	defer mapped.Guard(&err)()
	if opt.Tokens == 0 {
		opt.Tokens = DefaultTokens
	}
	h := &healer{
		base: handle.Base(b), theirs: handle.Base(teacher), opt: opt, out: out, start: time.Now(),
		blocks: map[*model.Linear][]byte{},
	}
	h.saved = h.start
	set := handle.Data(data)
	if err := h.check(set); err != nil {
		return nil, err
	}
	if h.id, err = h.identity(set); err != nil {
		return nil, err
	}
	r := new(Result)
	if err := h.measure(ctx, r, StageBase, h.base); err != nil {
		return nil, err
	}
	if opt.Resume {
		if err := h.resume(); err != nil {
			return nil, err
		}
	}
	if err := h.layers(ctx, set); err != nil {
		return nil, h.interrupted(ctx, err)
	}
	if err := h.finish(ctx, r, data); err != nil {
		return nil, h.interrupted(ctx, err)
	}
	r.Matrices, r.Took = h.made, time.Since(h.start)
	if h.made > 0 {
		r.Error = h.ratios / float64(h.made)
	}
	return r, nil
}

// finish trains end to end where that is asked for, and writes the result. Training that was measured to do harm, such
// as with too high a rate, leaves the model of the layers.
func (h *healer) finish(ctx context.Context, r *Result, data *peft.Data) error {
	r.Kept = StageLayers
	if h.opt.Training == nil {
		if err := h.write(h.out); err != nil {
			return err
		}
		return errors.Join(h.measureFile(ctx, r, StageLayers, h.out), h.removeStage())
	}
	stage := StagePath(h.out)
	if err := h.save(); err != nil {
		return err
	}
	if err := h.measureFile(ctx, r, StageLayers, stage); err != nil {
		return err
	}
	if err := h.train(ctx, stage, data); err != nil {
		return err
	}
	if err := h.measureFile(ctx, r, StageTraining, h.out); err != nil {
		return err
	}
	divergence := func(i int) float64 { return r.Stages[len(r.Stages)-i].Figures.Divergence.Value }
	if len(r.Stages) > 0 && !(divergence(1) <= divergence(2)) {
		return errors.Join(h.write(h.out), h.removeStage())
	}
	r.Kept = StageTraining
	return h.removeStage()
}

// check refuses what cannot be healed.
func (h *healer) check(set *attach.Data) error {
	b := h.base
	switch {
	case b.GGUF == nil:
		return fmt.Errorf("%s is no GGUF file: only quantized ones are healed", b.Path)
	case attach.SameFile(h.out, b.Path) || attach.SameFile(h.out, h.theirs.Path):
		return errors.New("the healed file would replace one that is read: choose another name")
	case h.opt.Tokens < 2:
		return fmt.Errorf("%d tokens of calibration text, expected 2 or more", h.opt.Tokens)
	case set.Classes > 0:
		return errors.New("a calibration text has to be text, not records with classes")
	}
	if err := attach.SameVocabulary(b, h.theirs); err != nil {
		return fmt.Errorf("teacher: %w", err)
	}
	for _, m := range []*attach.Base{b, h.theirs} {
		if err := m.Model.RunsByLayers(); err != nil {
			return fmt.Errorf("%s: healing %w", m.Path, err)
		}
	}
	if err := attach.CheckSet(b, set, 0); err != nil {
		return fmt.Errorf("calibration: %w", err)
	}
	if err := h.pair(); err != nil {
		return err
	}
	return h.checkMemory(set)
}

// pair finds the teacher's linear map of each of the base.
func (h *healer) pair() error {
	theirs, ours := h.theirs.Model.Matrices(), h.base.Model.Matrices()
	byModule := map[string]*model.Linear{}
	for _, m := range theirs {
		byModule[key(m)] = m
	}
	h.pairs, h.weights = map[*model.Linear]*model.Linear{}, map[*model.Linear]*requant.MasterRows{}
	originals := requant.MasterWeights{Path: h.theirs.Path, Model: h.base.Model, Store: h.theirs.Store}
	for _, m := range ours {
		of := byModule[key(m)]
		switch {
		case of == nil:
			return fmt.Errorf("%s has no %s: it is not what %s was quantized from", h.theirs.Path, m.Module,
				h.base.Path)
		case of.W.Rows != m.W.Rows || of.W.Cols != m.W.Cols:
			return fmt.Errorf("%s is %d×%d in %s, but %d×%d in %s: not what it was quantized from", m.Module, of.W.Rows,
				of.W.Cols, h.theirs.Path, m.W.Rows, m.W.Cols, h.base.Path)
		}
		h.pairs[m] = of
		if !changeable(m) {
			continue
		}
		rows, err := originals.Rows(m)
		if err == nil {
			err = rows.Check(m)
		}
		if err != nil {
			return fmt.Errorf("teacher: %w", err)
		}
		h.weights[m] = rows
	}
	if len(h.weights) == 0 {
		return fmt.Errorf("%s has no quantized matrix: there is nothing to heal", h.base.Path)
	}
	return nil
}

// key names a linear map of a model.
func key(m *model.Linear) string { return fmt.Sprintf("%d %s %d", m.Layer, m.Module, m.Expert) }

// measure measures the divergence of a model from the teacher on the held text.
func (h *healer) measure(ctx context.Context, r *Result, name string, b *attach.Base) error {
	if h.opt.Held == nil {
		return nil
	}
	base := handle.OfBase(b).(*peft.Base)
	reference := eval.ReferenceModel(handle.OfBase(h.theirs).(*peft.Base))
	f, err := eval.Divergence(ctx, base, nil, h.opt.Held, reference, eval.PerplexityOptions{Ctx: h.opt.Ctx})
	if err != nil {
		return err
	}
	r.Stages = append(r.Stages, Stage{name, f})
	if h.opt.Measured != nil {
		h.opt.Measured(r.Stages[len(r.Stages)-1])
	}
	return nil
}

// measureFile measures a file.
func (h *healer) measureFile(ctx context.Context, r *Result, name, path string) error {
	if h.opt.Held == nil {
		return nil
	}
	b, err := attach.OpenBase(path)
	if err != nil {
		return err
	}
	return errors.Join(h.measure(ctx, r, name, b), b.Close())
}
