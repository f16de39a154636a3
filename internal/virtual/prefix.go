package virtual

import (
	"errors"
	"fmt"
	"slices"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/peft/method"
)

// MethodPrefixTuning is the peft_type of prefix tuning (Li, Liang 2021), and of P-tuning v2 (Liu et al. 2022), whose
// trained form is a prefix.
const MethodPrefixTuning = "PREFIX_TUNING"

// Names of a prefix's tensors while it is trained, where it is not trained itself.
const (
	encoderPrefix   = "prompt_encoder."
	EncoderTable    = encoderPrefix + "embedding.weight"   // (n, TokenDim) what an encoder starts from
	prefixFirst     = encoderPrefix + "transform.0.weight" // (EncoderHidden, TokenDim)
	prefixFirstBias = encoderPrefix + "transform.0.bias"
	prefixLast      = encoderPrefix + "transform.2.weight" // (Layers·2·TokenDim, EncoderHidden)
	prefixLastBias  = encoderPrefix + "transform.2.bias"
	hiddenPrompts   = encoderPrefix + "hidden" // (n, Layers·D) rows at each block's input
)

// PrefixSettings configure a prefix.
type PrefixSettings struct {
	VirtualSettings
	EncoderHidden int    `json:"encoder_hidden_size"` // of the network that the prefix is trained through
	Projection    bool   `json:"prefix_projection"`   // there was such a network
	Task          string `json:"task_type"`           // CAUSAL_LM, or SEQ_CLS where a head classifies
	// Widths are the values in the keys, and then in the values, of each layer where they are not all TokenDim, which is
	// then the largest. PEFT has no such prefixes.
	Widths []int `json:"peftconv_widths,omitempty"`
}

func (s *PrefixSettings) Check() error {
	for _, w := range s.Widths {
		if w < 0 || w > 1<<20 {
			return fmt.Errorf("peftconv_widths has %d, expected sizes", w)
		}
	}
	if s.Widths != nil && len(s.Widths) != 2*s.Layers {
		return fmt.Errorf("peftconv_widths has %d sizes, expected those of keys and values of %d layers", len(s.Widths),
			s.Layers)
	}
	if s.Task != taskLM && s.Task != taskClasses && s.Task != "" {
		return fmt.Errorf("task_type %q, expected %s or %s", s.Task, taskLM, taskClasses)
	}
	return s.VirtualSettings.Check()
}

// Values of task_type.
const (
	taskLM      = "CAUSAL_LM"
	taskClasses = "SEQ_CLS"
)

// cols is the width of a row of the prefix: keys and values of all layers.
func (s *PrefixSettings) cols() int {
	if s.Widths == nil {
		return 2 * s.Layers * s.TokenDim
	}
	sum := 0
	for _, w := range s.Widths {
		sum += w
	}
	return sum
}

// newPrefixSettings are those of n keys and values in each layer of a base.
func newPrefixSettings(b *attach.Base, n int) (*PrefixSettings, error) {
	if err := takesPrefix(b); err != nil {
		return nil, fmt.Errorf("new adapter: %w", err)
	}
	s := &PrefixSettings{VirtualSettings: newVirtualSettings(b, n), Task: taskLM}
	s.Heads = b.Model.Spec.KeyHeads
	s.TokenDim, s.Widths = prefixWidths(b)
	return s, nil
}

// prefixWidths are the values in the keys, and then in the values, of each layer, nil where all are alike, and the
// largest.
func prefixWidths(b *attach.Base) (largest int, widths []int) {
	for _, l := range b.Model.Layers {
		widths = append(widths, l.KeyWidth(), l.ValueWidth())
	}
	largest = slices.Max(widths)
	if slices.Min(widths) == largest {
		return largest, nil
	}
	return largest, widths
}

// takesPrefix says why layers of a base have no keys and values for a prefix to stand before.
func takesPrefix(b *attach.Base) error {
	found := false
	for i, l := range b.Model.Layers {
		reason := ""
		switch s := l.Spec; {
		case s.Mixer == arch.DeltaNet || s.Mixer == arch.Mamba2:
			reason = "carries a recurrent state and has no keys and values"
		case s.Mixer == arch.ShortConv:
			reason = "is a convolution and has no keys and values"
		case s.Mixer == arch.NoMixer:
			continue
		case s.KeysFrom > 0:
			reason = fmt.Sprintf("reads the keys and values of layer %d and has none of its own", s.KeysFrom-1)
		case s.Latent.Rank > 0:
			reason = "makes its keys and values of latent ones, which alone are cached"
		}
		if reason != "" {
			return errkind.Errorf(errors.ErrUnsupported, "a prefix is not possible over %s: layer %d %s", b.Path, i, reason)
		}
		found = true
	}
	if !found {
		return errkind.Errorf(errors.ErrUnsupported, "a prefix is not possible over %s: it has no attention", b.Path)
	}
	return nil
}

// checkPrefix reports options that make no sense together.
func checkPrefix(opt *method.PrefixTuning) error {
	if opt.Projection && opt.Init != "" && opt.Init != method.PromptInitRandom || opt.Projection && opt.Text != "" {
		return errors.New("a prefix that is trained through a network starts at random")
	}
	if opt.EncoderHidden < 0 {
		return fmt.Errorf("an encoder of width %d, expected 1 or more", opt.EncoderHidden)
	}
	return checkPrompt(&opt.PromptTuning)
}

// NewPrefixTuning makes keys and values before the attention of every layer.
func NewPrefixTuning(b *attach.Base, opt method.PrefixTuning) (*attach.Adapter, error) {
	if err := checkPrefix(&opt); err != nil {
		return nil, fmt.Errorf("new adapter: %w", err)
	}
	if opt.Projection {
		opt.Init = method.PromptInitRandom
	}
	ids, err := startTokens(b, &opt.PromptTuning)
	if err != nil {
		return nil, fmt.Errorf("new adapter: %w", err)
	}
	s, err := newPrefixSettings(b, opt.VirtualTokens)
	if err != nil {
		return nil, err
	}
	s.Projection, s.EncoderHidden = opt.Projection, opt.EncoderHidden
	if s.EncoderHidden == 0 {
		s.EncoderHidden = b.Model.Spec.Width
	}
	c := attach.Config{Method: MethodPrefixTuning, BaseModel: opt.BaseModel, Settings: s}
	if opt.Projection {
		return attach.NewAdapter(b, c, (&prefixTuning{PrefixSettings: s}).EncoderShapes(b), func(p *attach.Param) {
			startEncoder(p, opt.Seed)
		})
	}
	var failed error
	shapes := map[string][]int{PromptTensor: {s.Tokens, s.cols()}}
	a, err := attach.NewAdapter(b, c, shapes, func(p *attach.Param) { failed = startPrefix(b, s, p, ids, opt.Seed) })
	return a, errors.Join(err, failed)
}

// startPrefix fills a prefix with the base's own keys and values for tokens, or with random ones of the same scale as
// the base's for random tokens in each layer.
func startPrefix(b *attach.Base, s *PrefixSettings, p *attach.Param, ids []int32, seed uint64) error {
	r := prng.NewRandom(seed, p.Name)
	random := ids == nil
	if random {
		for range s.Tokens {
			ids = append(ids, int32(r.Next()%uint64(b.Model.Spec.Vocab)))
		}
	}
	session := b.Model.NewSession(len(ids))
	if _, err := session.Append(ids, model.NoHooks{}); err != nil {
		return err
	}
	for i, l := range b.Model.Layers {
		keys, values := session.Cache(i)
		for kind, cache := range [][]float32{keys, values} {
			if random {
				r.Normal(cache, rootMeanSquare(cache))
			}
			columns := prefixColumns(s, l, kind)
			for j, column := range columns {
				for row := range s.Tokens {
					p.Data[row*s.cols()+column] = cache[row*len(columns)+j]
				}
			}
		}
	}
	return nil
}

// prefixColumns are the columns of a prefix that hold a layer's keys (kind 0) or values (1), in the order in which the
// base has the values of a head: PEFT's is that of the Hugging Face checkpoint.
func prefixColumns(s *PrefixSettings, l *model.Layer, kind int) []int {
	width, first := s.TokenDim, (2*l.Index+kind)*s.TokenDim
	if s.Widths != nil {
		width, first = s.Widths[2*l.Index+kind], 0
		for _, w := range s.Widths[:2*l.Index+kind] {
			first += w
		}
	}
	columns := make([]int, width)
	key := l.Linear(arch.Key)
	for r := range columns {
		at := r
		if key != nil && key.Rows != nil && kind == 0 {
			at = int(key.Rows[r])
		}
		columns[at] = first + r
	}
	return columns
}

func init() {
	attach.RegisterFamily(prefixFamily())
	attach.RegisterOptions(checkPrefix, NewPrefixTuning)
}

// prefixFamily is prefix tuning.
func prefixFamily() *attach.Family {
	return &attach.Family{
		Name: "prefix-tuning", PeftType: MethodPrefixTuning, Allowed: map[string]func(any) bool{"task_type": attach.AnyValue},
		Settings: func() attach.Settings { return &PrefixSettings{VirtualSettings: VirtualSettings{Submodules: 1}} },
		Method: func(c *attach.Config, params []attach.Param) (attach.Method, error) {
			return newPrefixTuning(c, params)
		},
	}
}

// prefixTuning is keys and values before the attention of every layer, in one of three forms: as they are, trained
// through a network, or made by each block of vectors at its input. A classifier may stand on it.
type prefixTuning struct {
	*PrefixSettings
	index  map[string]int // places of the tensors
	width  int            // of the vectors at a block's input
	labels int            // rows of the classifier
}

func newPrefixTuning(c *attach.Config, params []attach.Param) (*prefixTuning, error) {
	m := &prefixTuning{PrefixSettings: c.Settings.(*PrefixSettings), index: map[string]int{}}
	for i := range params {
		m.index[params[i].Name] = i
	}
	want := map[string][]int{PromptTensor: {m.Tokens, m.cols()}}
	if i, ok := m.index[hiddenPrompts]; ok {
		if len(params[i].Shape) == 2 && m.Layers > 0 {
			m.width = params[i].Cols() / m.Layers
		}
		want = map[string][]int{hiddenPrompts: {m.Tokens, m.Layers * m.width}}
	} else if _, ok := m.index[prefixLast]; ok {
		want = m.EncoderShapes(nil)
	}
	if i, ok := m.index[ScoreTensor]; ok {
		if len(params[i].Shape) != 2 {
			return nil, fmt.Errorf("adapter: tensor %q has shape %v, expected a matrix", ScoreTensor, params[i].Shape)
		}
		m.labels = params[i].Rows()
		want[ScoreTensor] = []int{m.labels, params[i].Cols()}
	}
	return m, checkTensors(params, want)
}

// checkTensors reports a tensor that is missing, too much or of another shape.
func checkTensors(params []attach.Param, want map[string][]int) error {
	found := 0
	for i := range params {
		shape, ok := want[params[i].Name]
		if !ok {
			return fmt.Errorf("adapter: tensor %q has no place in it", params[i].Name)
		}
		if err := checkShape(&params[i], shape...); err != nil {
			return err
		}
		found++
	}
	if found < len(want) {
		return fmt.Errorf("adapter: it has %d tensors, expected %d", found, len(want))
	}
	return nil
}

// EncoderShapes are the tensors that a prefix is trained through; nil where it is trained itself.
func (m *prefixTuning) EncoderShapes(*attach.Base) map[string][]int {
	if !m.Projection {
		return map[string][]int{PromptTensor: {m.Tokens, m.cols()}}
	}
	return map[string][]int{
		EncoderTable: {m.Tokens, m.TokenDim},
		prefixFirst:  {m.EncoderHidden, m.TokenDim}, prefixFirstBias: {m.EncoderHidden},
		prefixLast: {m.cols(), m.EncoderHidden}, prefixLastBias: {m.cols()},
	}
}

func (m *prefixTuning) Describe() string {
	text := fmt.Sprintf("%d keys and values before each attention", m.Tokens)
	switch {
	case m.has(hiddenPrompts):
		text = fmt.Sprintf("%d vectors at each block's input", m.Tokens)
	case m.has(prefixLast):
		text += fmt.Sprintf(", through a network of width %d", m.EncoderHidden)
	}
	if m.labels > 0 {
		text += fmt.Sprintf(", and a classifier for %d labels", m.labels)
	}
	return text
}

func (m *prefixTuning) has(name string) bool {
	_, ok := m.index[name]
	return ok
}

func (m *prefixTuning) Traits() attach.Traits {
	return attach.Traits{VirtualTokens: m.Tokens, Classes: m.labels, Collapse: m.collapse}
}

// SuggestLR is a learning rate to start with: over a model of width 64 keys and values, and vectors that they are made
// of, learned best at 0.15 to 0.4, at 0.05 they ended 0.15 above; the network learned best at 1.2e-2.
func (m *prefixTuning) SuggestLR(b *attach.Base) float64 {
	if m.has(prefixLast) {
		return attach.TimesSuggested(b, encoderRate)
	}
	return attach.TimesSuggested(b, promptRate)
}

func (m *prefixTuning) Permuted(*attach.Base) ([]attach.Permutation, error) { return nil, nil }

// checkBase reports a base that the prefix is not made for.
func (m *prefixTuning) checkBase(b *attach.Base) error {
	s := &b.Model.Spec
	if err := takesPrefix(b); err != nil {
		return fmt.Errorf("adapter: %w", err)
	}
	dim, widths := prefixWidths(b)
	switch {
	case m.Layers != s.Layers:
		return errkind.Errorf(attach.ErrWrongBase, "adapter: a prefix "+
			"of %d layers, but %s has %d: an adapter of another base?", m.Layers, b.Path, s.Layers)
	case m.TokenDim != dim || !slices.Equal(m.Widths, widths):
		return errkind.Errorf(attach.ErrWrongBase, "adapter: keys of %d values, but those of %s have %d (%d heads): "+
			"an adapter of another base?",
			m.TokenDim, b.Path, dim, s.KeyHeads)
	case m.has(hiddenPrompts) && m.width != s.Width:
		return errkind.Errorf(attach.ErrWrongBase, "adapter: vectors of %d values, but the width of %s is %d: an "+
			"adapter of another base?", m.width, b.Path, s.Width)
	}
	return nil
}

func (m *prefixTuning) Bind(b *attach.Base, values, grads []attach.Param, strength float64) (attach.Attachment, error) {
	if err := errors.Join(m.checkBase(b), attach.CheckStrength(strength)); err != nil {
		return nil, err
	}
	at := &prefixAttachment{base: b, prefixTuning: m}
	at.encode = m.encoder(values, grads)
	for _, l := range b.Model.Layers {
		keys, values := prefixColumns(m.PrefixSettings, l, 0), prefixColumns(m.PrefixSettings, l, 1)
		at.columns = append(at.columns, [2][]int{keys, values})
	}
	if m.labels > 0 {
		if i := m.index[ScoreTensor]; values[i].Cols() != b.Model.Spec.Width {
			return nil, fmt.Errorf("adapter: a classifier over %d values, but the width of %s is %d",
				values[i].Cols(), b.Path, b.Model.Spec.Width)
		}
		at.classifier = newClassifier(values, grads, m.index[ScoreTensor])
	}
	return at, nil
}

// encoder gives the prefix (n, Layers·2·TokenDim), or the vectors (n, Layers·D) that it is made of.
func (m *prefixTuning) encoder(values, grads []attach.Param) func(t *autograd.Tape) *autograd.Tensor {
	if !m.has(prefixLast) {
		name := PromptTensor
		if m.has(hiddenPrompts) {
			name = hiddenPrompts
		}
		p := attach.Leaf(values, grads, m.index[name])
		return func(*autograd.Tape) *autograd.Tensor { return p }
	}
	matrix := func(name string) *autograd.Tensor { return attach.Leaf(values, grads, m.index[name]) }
	row := func(name string) *autograd.Tensor { return attach.RowLeaf(values, grads, m.index[name]) }
	table, first, last := matrix(EncoderTable), matrix(prefixFirst), matrix(prefixLast)
	firstBias, lastBias := row(prefixFirstBias), row(prefixLastBias)
	return func(t *autograd.Tape) *autograd.Tensor {
		return t.Dense(t.Activate(t.Dense(table, first, firstBias), autograd.Tanh), last, lastBias)
	}
}

// collapse leaves the keys and values alone.
func (m *prefixTuning) collapse(b *attach.Base, params []attach.Param) ([]attach.Param, error) {
	if m.has(PromptTensor) {
		return nil, nil
	}
	at, err := m.Bind(b, params, nil, 1)
	if err != nil {
		return nil, err
	}
	p := attach.Param{Name: PromptTensor, Shape: []int{m.Tokens, m.cols()}, Data: make([]float32, m.Tokens*m.cols())}
	tape := autograd.NewTape()
	tape.Record(false)
	at.Begin(tape)
	for _, l := range b.Model.Layers {
		keys, values := at.Prefix(tape, l)
		if keys == nil {
			continue
		}
		for kind, x := range []*autograd.Tensor{keys, values} {
			for j, column := range prefixColumns(m.PrefixSettings, l, kind) {
				for row := range m.Tokens {
					p.Data[row*m.cols()+column] = x.Row(row)[j]
				}
			}
		}
	}
	kept := []attach.Param{p}
	if m.labels > 0 {
		kept = append(kept, params[m.index[ScoreTensor]])
	}
	return kept, nil
}

// prefixAttachment is a prefix bound to a base.
type prefixAttachment struct {
	attach.Plain
	*prefixTuning
	base    *attach.Base
	encode  func(t *autograd.Tape) *autograd.Tensor
	made    *autograd.Tensor // in this pass
	columns [][2][]int       // of the keys and values of each layer

	classifier *classifier // nil: the base's head stays
}

// Begin makes the prefix.
func (at *prefixAttachment) Begin(t *autograd.Tape) { at.made = t.Hold(at.encode(t)) }

// Effect is the room for the prefix.
func (at *prefixAttachment) Effect() attach.Effect {
	return attach.Effect{Stepped: at.stepped, Expand: at.expand}
}

// expand makes room for the prefix: positions begin after it.
func (at *prefixAttachment) expand(b *batch.Batch) { b.Shift(at.Tokens) }

// Prefix gives the keys and values of a layer.
func (at *prefixAttachment) Prefix(t *autograd.Tape, l *model.Layer) (keys, values *autograd.Tensor) {
	if at.has(hiddenPrompts) {
		return at.project(t, l)
	}
	columns := &at.columns[l.Index]
	if len(columns[0]) == 0 {
		return nil, nil
	}
	return t.Columns(at.made, columns[0]), t.Columns(at.made, columns[1])
}

// project has the layer make keys and values of vectors at its input, at positions from 0.
func (at *prefixAttachment) project(t *autograd.Tape, l *model.Layer) (keys, values *autograd.Tensor) {
	columns, pos := make([]int, at.width), make([]int32, at.Tokens)
	for i := range columns {
		columns[i] = l.Index*at.width + i
	}
	for i := range pos {
		pos[i] = int32(i)
	}
	return at.base.Model.KeysValues(t, l, t.Columns(at.made, columns), pos, model.NoHooks{})
}
