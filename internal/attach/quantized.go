package attach

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/quant"
)

// Quantized says how an adapter of an ordinary method is trained quantization-aware: the forward pass multiplies with
// blocks of the base's own types, rounded from the weights that the method makes, and merging writes these blocks.
type Quantized struct {
	// ChannelCode, ChannelRow, or QATAuto: rows for what only scales rows, else codes
	Channels string `json:"channels"`
	Dither   string `json:"dither"` // DitherUniform or DitherNone
	Seed     uint64 `json:"seed"`   // of the dither
	// of the master weights that codes are rounded from (Base.OpenMaster); "": the base itself
	Master string `json:"latent_sha256,omitempty"`
	// Apart says that the second half of the ranks of a LoRA is what the first half started from, negated. The halves are
	// added up one by one, as they were in training.
	Apart bool `json:"start_apart,omitempty"`
}

// Check reports values that other methods than plain LoRA pairs cannot have.
func (q *Quantized) Check() error {
	switch {
	case q.Channels == method.ChannelScale || q.Channels == method.ChannelOffset:
		return fmt.Errorf("the channel %s is one of plain LoRA pairs only; other methods have %s, %s and %s", q.Channels,
			method.ChannelCode, method.ChannelRow, method.ChannelAuto)
	case !slices.Contains([]string{method.ChannelAuto, method.ChannelCode, method.ChannelRow}, q.Channels):
		if _, err := ParseChannels(q.Channels); err != nil {
			return err
		}
		return fmt.Errorf("the channels %s are for plain LoRA pairs only; other methods have %s, %s and %s", q.Channels,
			method.ChannelCode, method.ChannelRow, method.ChannelAuto)
	}
	return CheckDither(q.Dither)
}

// ReadQuantized reads what the metadata of an adapter's file say; "" is an adapter that is not quantization-aware.
func (c *Config) ReadQuantized(text string) error {
	if text == "" {
		return nil
	}
	c.Quantized = &Quantized{}
	if err := json.Unmarshal([]byte(text), c.Quantized); err != nil {
		return fmt.Errorf("metadata %s: %w", MetaQuantized, err)
	}
	if err := c.Quantized.Check(); err != nil {
		return fmt.Errorf("metadata %s: %w", MetaQuantized, err)
	}
	return nil
}

// SameQuantized reports a checkpoint that was trained by other settings.
func (c *Config) SameQuantized(saved string) error {
	var then Config
	if err := then.ReadQuantized(saved); err != nil {
		return err
	}
	switch {
	case (then.Quantized == nil) != (c.Quantized == nil):
		return errors.New("of the run and this one only one is quantization-aware")
	case c.Quantized != nil && *then.Quantized != *c.Quantized:
		return fmt.Errorf("the run requantized by %+v, this one by %+v", *then.Quantized, *c.Quantized)
	}
	return nil
}

// TrainQuantized makes an adapter that is not yet trained, of any method that changes weights of linear maps, train
// what merging it will write: blocks of the base's own types. Each step rounds the weights that the method makes to the
// base's blocks; gradients of the method's tensors are those of its unrounded weights. PEFT loads the adapter as one of
// its method. Errors say why a method cannot be trained so, and which weight has nothing to change.
func (a *Adapter) TrainQuantized(b *Base, opt method.Quantized) error {
	q := &Quantized{Channels: opt.Channels, Dither: opt.Dither, Seed: opt.Seed}
	if q.Channels == "" {
		q.Channels = method.ChannelAuto
	}
	if q.Dither == "" {
		q.Dither = method.DitherUniform
	}
	if err := q.Check(); err != nil {
		return fmt.Errorf("new adapter: %w", err)
	}
	a.Config.Quantized = q
	bound, err := a.Bind(b)
	if err == nil && opt.Master {
		linears, _ := b.withCodes(bound.Effect.Blocks)
		if q.Master, err = b.IdentifyMaster(linears); err == nil {
			a.Origin.Master = Absolute(b.Master.Path)
		}
	}
	if err != nil {
		a.Config.Quantized = nil
		return fmt.Errorf("quantization-aware training: %w", err)
	}
	return nil
}

// newQuantized wraps an attachment so that its changes are rounded to blocks of a base.
func newQuantized(b *Base, inner Attachment, q *Quantized, trained bool) (Attachment, error) {
	effect := inner.Effect()
	at := &quantizedAttachment{Hooks: inner, inner: effect, sites: map[*model.Linear]*quantizedSite{}, trained: trained}
	if err := onlyLinears(b, &effect); err != nil {
		return nil, err
	}
	changes := effect.Changes()
	for _, l := range b.Model.Linears() {
		c, ok := changes[l]
		if !ok {
			continue
		}
		channel, err := q.channelOf(l, &c)
		if err != nil {
			return nil, err
		}
		s := &quantizedSite{byRows: channel == method.ChannelRow}
		var rounding requant.Rounding // of rows: codes stay
		if !s.byRows {
			rounding = RoundingOf(q.Dither, q.Seed, l.Module)
		}
		s.Blocks = requant.NewBlocks(l, rounding)
		at.sites[l] = s
		at.order, at.blocks = append(at.order, s), append(at.blocks, &s.Blocks)
	}
	if q.Master != "" {
		return at, b.AttachMaster(q.Master, at.blocks)
	}
	return at, nil
}

// onlyLinears reports an attachment that changes more than linear maps of layers.
func onlyLinears(b *Base, e *Effect) error {
	if e.Dropout {
		return errors.New("dropout is not possible where the change is part of the weights: leave it out")
	}
	var changes map[*model.Linear]Change
	if e.Changes != nil {
		changes = e.Changes()
	}
	switch {
	case len(changes) == 0 && e.Vectors != nil:
		return errors.New("the method changes vectors alone, which merging writes as they are trained: it needs no " +
			"quantization-aware training")
	case len(changes) == 0:
		return errors.New("the method changes no weight, so that there is nothing to merge")
	}
	for l := range changes {
		if l.Layer < 0 {
			return fmt.Errorf("only linear maps of layers can be requantized: leave %s out", l.Module)
		}
	}
	if e.Vectors != nil && slices.ContainsFunc(e.Vectors(), func(c VectorChange) bool { return c.Factors == nil }) {
		return errors.New("norms and biases cannot be trained beside blocks that are requantized: leave them out")
	}
	return nil
}

// channelOf is the part of a weight's blocks that stores a change.
func (q *Quantized) channelOf(l *model.Linear, c *Change) (string, error) {
	rows := c.ScalesRows()
	t := l.W.Type
	switch {
	case q.Channels == method.ChannelRow && !rows:
		return "", fmt.Errorf("tensor %s: its change is more than factors "+
			"of rows, which is all that the channel %s holds: choose %s or %s",
			l.Place(), method.ChannelRow, method.ChannelCode, method.ChannelAuto)
	case q.Channels == method.ChannelRow && !quant.HasScales(t):
		return "", fmt.Errorf("tensor %s is %v, whose scales cannot be changed by factors: choose %s", l.Place(), t,
			method.ChannelCode)
	case rows && q.Channels != method.ChannelCode && quant.HasScales(t):
		return method.ChannelRow, nil
	case !quant.HasCodes(t):
		return "", errkind.Errorf(ErrNoCodes, "tensor %s is %v, whose weights have no codes of their own, as the "+
			"channel %s needs: choose plain LoRA pairs with the channel %s, which changes scales",
			l.Place(), t, method.ChannelCode, method.ChannelAuto)
	}
	return method.ChannelCode, nil
}
