package merge

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/imatrix"
	"github.com/peftconv/peftconv/gguf/quantize"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/quant"
	"github.com/peftconv/peftconv/safetensors"
)

// Options says how Run writes.
type Options struct {
	Type     string // type of the touched tensors, "Q8_0", "F16" …; "" keeps each tensor's own
	Force    bool   // merge into a base other than the one an adapter was trained over
	Rounding string // how a tensor that keeps its type is rounded: RoundAuto ("" is the same) …
	Imatrix  string // file of an importance matrix, by which errors of rounding are weighed; "" is none
	Progress func(Progress)

	// Calibration is text like that of the model's use, for RoundCompensate, RoundDescent and RoundAuto: the inputs of
	// each layer's weights are measured on some of it. nil is none.
	Calibration *peft.Data
}

// Progress is called after each tensor, and before each layer of a calibration.
type Progress struct {
	Tensor      string // or the current activity
	Bytes, Size int64  // written, of all
}

// Report is what Run did.
type Report struct {
	Output   string   `json:"output"`
	Tensors  []Tensor `json:"tensors"`  // the touched ones, in the order of the file
	Copied   int      `json:"copied"`   // tensors that were not touched
	Recovery float64  `json:"recovery"` // over all touched tensors together
	// every touched tensor has, bit for bit, the weights of the base with the adapters
	BitExact bool `json:"bit_exact"`

	// KeptShare is how much of the adapters' gain on evaluation data the merged model has: (base - merged)/(base -
	// adapters) of the losses. Run sets it where the result is bit-exact, which makes it 1; Verify measures it.
	KeptShare    *float64      `json:"kept_share"`
	Verification *Verification `json:"verification,omitempty"` // of Verify, where the caller wants it here
}

// Tensor says how much of an adapter's change of one tensor survived the rounding to the tensor's type. With Δ
// the change asked for and Δ' the one that was made, of those rows of the tensor that change:
type Tensor struct {
	Name string `json:"name"`
	Type string `json:"type"` // as written
	// Rounding is how the change was rounded: RoundRequantize …, or a list of such where the tensor holds rows of several
	// linear maps; "" where it is bit-exact.
	Rounding string  `json:"rounding"`
	Recovery float64 `json:"recovery"`  // ⟨Δ', Δ⟩/⟨Δ, Δ⟩: 1 where all of it is there, 0 where nothing is
	Noise    float64 `json:"noise"`     // |Δ'-Δ|/|Δ|
	Little   bool    `json:"little"`    // less than half of it is there
	BitExact bool    `json:"bit_exact"` // it is, bit for bit, what the base has with the adapters
}

// littleRecovery is where Tensor.Little begins.
const littleRecovery = 0.5

// Run writes the base with the sum of the adapters' changes in its weights: a GGUF file for a GGUF base, a directory
// of the same layout for a Hugging Face directory. Touched tensors are dequantized, changed and quantized again;
// everything else is copied byte for byte. An adapter that has no change of weights, whose base is another one (unless
// Force), a weight that is not finite and a type that a tensor cannot have are errors; nothing is left of the output
// then.
func Run(ctx context.Context, b *peft.Base, adapters []peft.Scaled, out string, opt Options) (_ *Report, err error) {
	defer mapped.Guard(&err)()
	return run(ctx, handle.Base(b), handle.Scaled(adapters), out, opt)
}

// run is Run on what the arguments hold.
func run(ctx context.Context, b *attach.Base, adapters []attach.Scaled, out string, opt Options) (*Report, error) {
	for i := range adapters {
		if adapters[i].Scale == 0 {
			return nil, fmt.Errorf("merge: the scale of adapter %d of %d is 0: nothing of it would be in the result; 1 is its "+
				"whole effect", i+1, len(adapters))
		}
	}
	m, err := newMerger(ctx, b, adapters, opt)
	if err != nil {
		return nil, fmt.Errorf("merge: %w", err)
	}
	m.report.Output = out
	if b.GGUF != nil {
		err = m.toGGUF(out)
	} else {
		err = m.toHF(out)
	}
	if err != nil {
		return nil, fmt.Errorf("merge into %s: %w", out, err)
	}
	m.report.Recovery = m.total.recovery()
	if m.report.BitExact = m.report.BitExact && len(m.report.Tensors) > 0; m.report.BitExact {
		all := 1.0
		m.report.KeptShare = &all
	}
	return &m.report, nil
}

// merger is one merge.
type merger struct {
	ctx      context.Context
	base     *attach.Base
	adapters []attach.Scaled
	opt      Options
	maps     map[*model.Linear]*mergeMap
	tensors  map[string]*mergeTensor // of these, by their names in the base
	vectors  map[string]*mergeVector // likewise; new ones by the name that they get
	late     []attach.VectorChange   // of vectors, after those of all adapters
	size     int64                   // bytes of all tensors of the output
	written  int64
	released int64             // written when the pages of the base were given back
	shard    *safetensors.File // of a Hugging Face directory, that is written; nil of a GGUF file
	total    mergeStats
	report   Report

	imatrix     *imatrix.Matrix // nil: none
	mixture     *mixture        // nil: Options.Type is a type
	importances map[*imatrix.Entry][]float32
	calibration *calibration // nil until the first tensor needs it
	room        rowsInWork
	requantizes bool // all adapters requantize, so that none is quantized again
}

func newMerger(ctx context.Context, b *attach.Base, adapters []attach.Scaled, opt Options) (*merger, error) {
	if len(adapters) == 0 {
		return nil, errors.New("no adapter is given")
	}
	if NeedsCalibration(opt.Rounding) && opt.Calibration == nil {
		return nil, fmt.Errorf("rounding %s needs calibration data", opt.Rounding)
	}
	if opt.Calibration != nil {
		if err := checkMemory(b, handle.Data(opt.Calibration)); err != nil {
			return nil, err
		}
	}
	for _, scaled := range adapters {
		if err := attach.CheckBase(scaled.Adapter, b); err != nil && !opt.Force {
			return nil, err
		}
	}
	bounds, err := attach.BindAll(b, adapters)
	if err != nil {
		return nil, err
	}
	m := &merger{ctx: ctx, base: b, adapters: adapters, opt: opt, maps: map[*model.Linear]*mergeMap{}}
	m.report.BitExact = true
	if err := m.openImatrix(); err != nil {
		return nil, err
	}
	if err := m.chooseMixture(); err != nil {
		return nil, err
	}
	m.requantizes = !slices.ContainsFunc(bounds, func(bound *attach.Bound) bool { return !bound.Requantizes() })
	for _, bound := range bounds {
		if err := m.touchAll(bound); err != nil {
			return nil, err
		}
	}
	if err := m.moveScales(); err != nil {
		return nil, err
	}
	for _, c := range m.maps {
		c.changes = attach.InPhases(c.changes)
	}
	if err := m.collectTensors(); err != nil {
		return nil, err
	}
	m.chooseMeasured()
	return m, m.multiplyLate()
}

// moveScales turns scales of columns into scales of the rows of the weight before, where they can be moved.
func (m *merger) moveScales() error {
	for _, l := range m.base.Model.Linears() {
		c := m.maps[l]
		if c == nil || c.requantized || len(c.changes) != 1 {
			continue
		}
		s := c.changes[0].Scaling
		if s == nil || s.Moved() == nil {
			continue
		}
		s = s.Moved()
		before, err := m.touch(s.Linear)
		if err != nil {
			return err
		}
		before.changes = append(before.changes, s.Change())
		m.late = append(m.late, attach.VectorChange{Linear: s.Linear, Factors: s.Rows})
		delete(m.maps, l)
	}
	return nil
}

// touchAll adds the changes of one adapter.
func (m *merger) touchAll(bound *attach.Bound) error {
	changes := bound.Changes()
	hasVectors, err := m.touchVectors(bound)
	if err != nil {
		return err
	}
	if changes == nil && !hasVectors {
		return fmt.Errorf("an adapter of method %s cannot be merged", bound.Adapter.Config.Method)
	}
	if err := bound.Effect.Unmergeable; err != nil {
		return err
	}
	for _, l := range m.base.Model.Matrices() {
		change, ok := changes[l]
		if !ok {
			continue
		}
		c, err := m.touch(l)
		if err != nil {
			return err
		}
		if bound.Requantizes() {
			c.w, c.requantized = *bound.Weights(l, &l.W), true
		} else {
			c.changes = append(c.changes, change)
		}
	}
	return nil
}

// touch is the entry of a linear map's weight.
func (m *merger) touch(l *model.Linear) (*mergeMap, error) {
	if c := m.maps[l]; c != nil {
		return c, nil
	}
	to, err := m.targetType(l)
	if err != nil {
		return nil, err
	}
	c := &mergeMap{linear: l, w: l.W, to: to, seed: prng.NewRandom(0, l.Place()).Next()}
	if c.importance, err = m.importanceOf(l, to); err != nil {
		return nil, err
	}
	c.rounding = m.roundingOf(c)
	m.maps[l] = c
	return c, nil
}

// targetType is the type that a touched tensor gets.
func (m *merger) targetType(l *model.Linear) (gguf.Type, error) {
	if m.opt.Type == "" {
		if quant.NeedsImportance(l.W.Type) && !m.requantizes && m.opt.Imatrix == "" && m.choosesPoints() {
			return 0, fmt.Errorf("tensor %s is %v, which cannot be made without an importance matrix or calibration data: "+
				"give one of them, or choose another type", l.Place(), l.W.Type)
		}
		return l.W.Type, nil
	}
	if m.mixture != nil {
		return m.mixture.types[l.Tensor], nil
	}
	to, err := gguf.ParseType(m.opt.Type)
	if err != nil {
		return 0, err
	}
	switch {
	case !quant.Supported(to):
		return 0, fmt.Errorf("type %v cannot be written", to)
	case quant.NeedsImportance(to) && m.opt.Imatrix == "":
		return 0, fmt.Errorf("type %v cannot be made without an importance matrix", to)
	case m.base.GGUF == nil && model.Dtypes[to] == "":
		return 0, fmt.Errorf("safetensors has no type %v, only F32, F16 and BF16", to)
	}
	return quantize.FitRows(l.Place(), int64(l.W.Cols), to)
}

// releaseEvery is how much is written between two times at which the pages of the base are given back.
const releaseEvery = 16 << 20

// wrote counts a tensor and reports it.
func (m *merger) wrote(name string, n int64) {
	m.written += n
	if m.written-m.released > releaseEvery {
		m.released = m.written
		m.base.Store.Release()
		if m.shard != nil {
			m.shard.Release()
		}
	}
	if m.opt.Progress != nil {
		m.opt.Progress(Progress{Tensor: name, Bytes: m.written, Size: m.size})
	}
}
