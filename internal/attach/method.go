package attach

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/model"
)

// Family is one PEFT method before there is an adapter of it: how it is named and configured.
type Family struct {
	Name     string // "prefix-tuning", as options of package method and --method name it
	PeftType string // peft_type in adapter_config.json
	Own      bool   // PEFT has no such method
	Blocks   bool   // its adapters may have Config.Blocks
	// Settings makes Config.Settings with PEFT's defaults, for JSON to be read into; nil for LoRA, whose settings are
	// fields of Config.
	Settings func() Settings
	// Allowed says which values can be taken of fields of adapter_config.json that the settings do not hold. A field
	// that is in neither may be there as long as it is off.
	Allowed map[string]func(v any) bool
	// Method makes the method over an adapter's tensors and checks that they fit the configuration and each other. It
	// may set the flags of the tensors.
	Method func(c *Config, params []Param) (Method, error)
}

// Families are all methods there are, by peft_type.
var Families = map[string]*Family{}

// RegisterFamily adds a method. It panics where there is one of that peft_type.
func RegisterFamily(f *Family) {
	if Families[f.PeftType] != nil {
		panic("attach: two methods of peft_type " + f.PeftType)
	}
	Families[f.PeftType] = f
}

// familyOf is the family with that peft_type.
func familyOf(peftType string) (*Family, error) {
	if f := Families[peftType]; f != nil {
		return f, nil
	}
	known := slices.Sorted(maps.Keys(Families))
	return nil, errkind.Errorf(errors.ErrUnsupported, "peft_type %q is not supported (supported: %s)", peftType,
		strings.Join(known, ", "))
}

// Method is one family of adapters over tensors: what they are and how they change a model.
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
	// Traits are what else the method is.
	Traits() Traits
}

// Traits are what some methods are, whatever the base. The zero value is a method that is none of it.
type Traits struct {
	VirtualTokens int    // positions that it takes before a text: of virtual tokens, or of a prefix
	Classes       int    // labels of a head of its own, which takes the place of the base's
	SumsGroups    bool   // it requantizes blocks itself, by gradients that are summed over groups of weights
	Master        string // identity of the master weights that its codes are rounded from
	// Decay is the weight decay that suits it where nothing else keeps the model near the base; 0: none.
	Decay float64
	// Collapse is set where a method is trained in another form than it is used in, such as by an encoder of virtual
	// tokens: it gives the tensors of the form that stays, or nil where the adapter has that form already.
	Collapse func(b *Base, params []Param) ([]Param, error)
}

// Attachment is a method bound to a base: its hooks, and what else it does. A type embeds Plain and overrides what it
// needs.
type Attachment interface {
	model.Hooks
	// Effect says what the attachment does beside its hooks. It is asked for once.
	Effect() Effect
}

// Plain is an attachment that does nothing.
type Plain struct{ model.NoHooks }

// Effect is none.
func (Plain) Effect() Effect { return Effect{} }

// NewMethod makes the method of a configuration over an adapter's tensors and checks that they fit together.
func NewMethod(c *Config, params []Param) (Method, error) {
	f, err := familyOf(c.Method)
	if err != nil {
		return nil, fmt.Errorf("adapter: %w", err)
	}
	if len(c.Blocks) > 0 && !f.Blocks {
		return nil, fmt.Errorf("adapter: it has blocks of %d weights, which an adapter of peft_type %q cannot have",
			len(c.Blocks), c.Method)
	}
	return f.Method(c, params)
}

// NewAdapter makes an adapter for a base with tensors of the given shapes, each filled by start.
func NewAdapter(b *Base, c Config, shapes map[string][]int, start func(p *Param)) (*Adapter, error) {
	a := &Adapter{Config: c}
	if err := a.MoveTo(b); err != nil {
		return nil, err
	}
	a.Allocate(shapes)
	for i := range a.Tensors {
		start(&a.Tensors[i])
	}
	var err error
	a.Method, err = NewMethod(&a.Config, a.Tensors)
	return a, err
}

// MoveTo makes an adapter one of a base, of no training.
func (a *Adapter) MoveTo(b *Base) error {
	if a.Config.BaseModel == "" {
		a.Config.BaseModel = b.Name()
	}
	sum, err := b.SHA256()
	a.Origin = Origin{Base: Absolute(b.Path), BaseSHA256: sum, Architecture: b.Architecture(), Version: Version,
		Master: a.Origin.Master}
	return err
}

// MethodName is Family.Name of the adapter's method, "" where there is no such method.
func (a *Adapter) MethodName() string {
	if f, err := familyOf(a.Config.Method); err == nil {
		return f.Name
	}
	return ""
}

// InPEFT reports whether HF PEFT has the adapter's method, and so loads the directory that SaveDir writes.
func (a *Adapter) InPEFT() bool {
	f, err := familyOf(a.Config.Method)
	return err == nil && !f.Own
}

// Describe says what the adapter is in few words: "LoRA of rank 8 on 35 weights".
func (a *Adapter) Describe() string {
	if a.Config.Quantized != nil {
		return a.Method.Describe() + ", quantization-aware"
	}
	return a.Method.Describe()
}

// SuggestLR is a learning rate to start with for this adapter over a base.
func (a *Adapter) SuggestLR(b *Base) float64 { return a.Method.SuggestLR(b) }
