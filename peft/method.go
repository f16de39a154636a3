package peft

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
)

// family is one PEFT method before there is an adapter of it: how it is named and configured.
type family struct {
	name     string // "prefix-tuning", as NewAdapter's callers and --method name it
	peftType string // peft_type in adapter_config.json
	own      bool   // PEFT has no such method
	// settings makes Config.Settings with PEFT's defaults, for JSON to be read into; nil for LoRA, whose settings are
	// fields of Config.
	settings func() Settings
	// allowed says which values can be taken of fields of adapter_config.json that the settings do not hold. A field that
	// is in neither may be there as long as it is off.
	allowed map[string]func(v any) bool
	// method makes the method over an adapter's tensors and checks that they fit the configuration and each other. It may
	// set the flags of the tensors.
	method func(c *Config, params []Param) (method, error)
}

// families are all methods there are, by peft_type.
var families = map[string]*family{}

// registerFamily adds a method. It panics where there is one of that peft_type.
func registerFamily(f *family) {
	if families[f.peftType] != nil {
		panic("peft: two methods of peft_type " + f.peftType)
	}
	families[f.peftType] = f
}

// familyOf is the family with that peft_type.
func familyOf(peftType string) (*family, error) {
	if f := families[peftType]; f != nil {
		return f, nil
	}
	known := slices.Sorted(maps.Keys(families))
	return nil, fmt.Errorf("peft_type %q is not supported (supported: %s)", peftType, strings.Join(known, ", "))
}

// method is one family of adapters over tensors: what they are and what they do to a model.
type method interface {
	// describe says what it is in few words: "LoRA of rank 8 on 35 weights".
	describe() string
	// suggestLR is a learning rate to start with.
	suggestLR(b *Base) float64
	// bind attaches the tensors to a base. values has a tensor for each of the adapter's, in the same order, with
	// rows as the base stores them; grads likewise, or nil where nothing is to be trained. strength multiplies the
	// adapter's effect.
	bind(b *Base, values, grads []Param, strength float64) (attachment, error)
	// permuted lists the tensors whose rows follow rows that the base stores permuted.
	permuted(b *Base) ([]permutation, error)
}

// attachment is a method at work on a base. A type embeds plain and has methods of its own for what it does.
type attachment interface {
	model.Hooks
	// train switches what only happens in training, such as dropout, on or off.
	train(on bool)
	// stepped is called when the tensors have new values: after step steps of all, which may be none.
	stepped(step, steps int)
	// expand puts what the method adds to sequences, virtual tokens, into a batch.
	expand(b *batch.Batch)
	// deltas are the changes of weights that have the same effect, for methods that have such.
	deltas() map[*model.Linear]delta
}

// stateful is an attachment that has more to remember from step to step than its tensors. state are views of its memory,
// which checkpoints hold; what is written into them restores it.
type stateful interface{ state() []Param }

// regularizer is an attachment with a term of its own in what is minimised; regularize adds the gradient of that term.
type regularizer interface{ regularize() }

// finisher is an attachment that changes the adapter after the last step.
type finisher interface{ finish(a *Adapter) error }

// as finds what only some attachments do, also in the method of an adapter on a grid.
func as[T any](at attachment) (T, bool) {
	if found, ok := at.(T); ok {
		return found, true
	}
	if g, ok := at.(*gridAttachment); ok {
		at = g.attachment
	}
	found, ok := at.(T)
	return found, ok
}

// plain is an attachment that does nothing.
type plain struct{ model.NoHooks }

func (plain) train(bool) {}

func (plain) stepped(int, int) {}

func (plain) expand(*batch.Batch) {}

func (plain) deltas() map[*model.Linear]delta { return nil }

// delta is a change of one weight matrix.
type delta interface {
	// AddRows is dst (r1-r0, cols) += ΔW[r0:r1].
	AddRows(dst []float32, r0, r1 int)
}

// newMethod makes the method of a configuration over an adapter's tensors and checks that they fit together.
func newMethod(c *Config, params []Param) (method, error) {
	f, err := familyOf(c.Method)
	if err != nil {
		return nil, fmt.Errorf("adapter: %w", err)
	}
	return f.method(c, params)
}

// newAdapter makes an adapter for a base with tensors of the given shapes, each filled by start.
func newAdapter(b *Base, c Config, shapes map[string][]int, start func(p *Param)) (*Adapter, error) {
	if c.BaseModel == "" {
		c.BaseModel = b.name()
	}
	sum, err := b.SHA256()
	if err != nil {
		return nil, err
	}
	a := &Adapter{Config: c, Origin: Origin{Base: absolute(b.Path), BaseSHA256: sum, Architecture: b.Architecture(), Version: Version}}
	a.allocate(shapes)
	for i := range a.params {
		start(&a.params[i])
	}
	a.method, err = newMethod(&a.Config, a.params)
	return a, err
}

// InPEFT reports whether HF PEFT has the adapter's method, and so loads the directory that SaveDir writes.
func (a *Adapter) InPEFT() bool {
	f, err := familyOf(a.Config.Method)
	return err == nil && !f.own
}

// Describe says what the adapter is in few words: "LoRA of rank 8 on 35 weights".
func (a *Adapter) Describe() string {
	if a.Config.Grid != nil {
		return a.method.describe() + ", on the grid of the base's blocks"
	}
	return a.method.describe()
}

// SuggestLR is a learning rate to start with for this adapter over a base.
func (a *Adapter) SuggestLR(b *Base) float64 { return a.method.suggestLR(b) }
