package attach

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
)

// Family is one PEFT method before there is an adapter of it: how it is named and configured.
type Family struct {
	Name     string // "prefix-tuning", as NewAdapter's callers and --method name it
	PeftType string // peft_type in adapter_config.json
	Own      bool   // PEFT has no such method
	// Settings makes Config.Settings with PEFT's defaults, for JSON to be read into; nil for LoRA, whose settings are
	// fields of Config.
	Settings func() Settings
	// Allowed says which values can be taken of fields of adapter_config.json that the settings do not hold. A field that
	// is in neither may be there as long as it is off.
	Allowed map[string]func(v any) bool
	// Method makes the method over an adapter's tensors and checks that they fit the configuration and each other. It may
	// set the flags of the tensors.
	Method func(c *Config, params []Param) (Method, error)
}

// Families are all methods there are, by peft_type.
var Families = map[string]*Family{}

// RegisterFamily adds a method. It panics where there is one of that peft_type.
func RegisterFamily(f *Family) {
	if Families[f.PeftType] != nil {
		panic("peft: two methods of peft_type " + f.PeftType)
	}
	Families[f.PeftType] = f
}

// familyOf is the family with that peft_type.
func familyOf(peftType string) (*Family, error) {
	if f := Families[peftType]; f != nil {
		return f, nil
	}
	known := slices.Sorted(maps.Keys(Families))
	return nil, fmt.Errorf("peft_type %q is not supported (supported: %s)", peftType, strings.Join(known, ", "))
}

// Method is one family of adapters over tensors: what they are and what they do to a model.
type Method interface {
	// Describe says what it is in few words: "LoRA of rank 8 on 35 weights".
	Describe() string
	// SuggestLR is a learning rate to start with.
	SuggestLR(b *Base) float64
	// Bind attaches the tensors to a base. values has a tensor for each of the adapter's, in the same order, with
	// rows as the base stores them; grads likewise, or nil where nothing is to be trained. strength multiplies the
	// adapter's effect.
	Bind(b *Base, values, grads []Param, strength float64) (Attachment, error)
	// Permuted lists the tensors whose rows follow rows that the base stores permuted.
	Permuted(b *Base) ([]Permutation, error)
}

// Attachment is a method at work on a base. A type embeds plain and has methods of its own for what it does.
type Attachment interface {
	model.Hooks
	// Train switches what only happens in training, such as dropout, on or off.
	Train(on bool)
	// Stepped is called when the tensors have new values: after step steps of all, which may be none.
	Stepped(step, steps int)
	// Expand puts what the method adds to sequences, virtual tokens, into a batch.
	Expand(b *batch.Batch)
	// Deltas are the changes of weights that have the same effect, for methods that have such.
	Deltas() map[*model.Linear]Delta
}

// Stateful is an attachment that has more to remember from step to step than its tensors. state are views of its memory,
// which checkpoints hold; what is written into them restores it.
type Stateful interface{ State() []Param }

// Regularizer is an attachment with a term of its own in what is minimised; regularize adds the gradient of that term.
type Regularizer interface{ Regularize() }

// Finisher is an attachment that changes the adapter after the last step.
type Finisher interface{ Finish(a *Adapter) error }

// As finds what only some attachments do, also in the method of an adapter on a grid.
func As[T any](at Attachment) (T, bool) {
	if found, ok := at.(T); ok {
		return found, true
	}
	if g, ok := at.(*gridAttachment); ok {
		at = g.Attachment
	}
	found, ok := at.(T)
	return found, ok
}

// Plain is an attachment that does nothing.
type Plain struct{ model.NoHooks }

func (Plain) Train(bool) {}

func (Plain) Stepped(int, int) {}

func (Plain) Expand(*batch.Batch) {}

func (Plain) Deltas() map[*model.Linear]Delta { return nil }

// Delta is a change of one weight matrix.
type Delta interface {
	// AddRows is dst (r1-r0, cols) += ΔW[r0:r1].
	AddRows(dst []float32, r0, r1 int)
}

// NewMethod makes the method of a configuration over an adapter's tensors and checks that they fit together.
func NewMethod(c *Config, params []Param) (Method, error) {
	f, err := familyOf(c.Method)
	if err != nil {
		return nil, fmt.Errorf("adapter: %w", err)
	}
	return f.Method(c, params)
}

// NewAdapter makes an adapter for a base with tensors of the given shapes, each filled by start.
func NewAdapter(b *Base, c Config, shapes map[string][]int, start func(p *Param)) (*Adapter, error) {
	if c.BaseModel == "" {
		c.BaseModel = b.Name()
	}
	sum, err := b.SHA256()
	if err != nil {
		return nil, err
	}
	a := &Adapter{Config: c, Origin: Origin{Base: Absolute(b.Path), BaseSHA256: sum, Architecture: b.Architecture(), Version: Version}}
	a.Allocate(shapes)
	for i := range a.Tensors {
		start(&a.Tensors[i])
	}
	a.Method, err = NewMethod(&a.Config, a.Tensors)
	return a, err
}

// InPEFT reports whether HF PEFT has the adapter's method, and so loads the directory that SaveDir writes.
func (a *Adapter) InPEFT() bool {
	f, err := familyOf(a.Config.Method)
	return err == nil && !f.Own
}

// Describe says what the adapter is in few words: "LoRA of rank 8 on 35 weights".
func (a *Adapter) Describe() string {
	if a.Config.Grid != nil {
		return a.Method.Describe() + ", on the grid of the base's blocks"
	}
	return a.Method.Describe()
}

// SuggestLR is a learning rate to start with for this adapter over a base.
func (a *Adapter) SuggestLR(b *Base) float64 { return a.Method.SuggestLR(b) }
