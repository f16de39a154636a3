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

// Grid says how an adapter of an ordinary method is one on the grid of a quantized base: the forward pass multiplies with
// blocks of the base's own types, rounded from the weights that the method makes, and merging writes these blocks.
type Grid struct {
	Channels string `json:"channels"`                // ChannelCode, ChannelRow, or QATAuto: rows for what only scales rows, else codes
	Dither   string `json:"dither"`                  // DitherUniform or DitherNone
	Seed     uint64 `json:"seed"`                    // of the dither
	Master   string `json:"latent_sha256,omitempty"` // of the master weights that codes are rounded from (Base.OpenMaster); "": the base itself
	// Apart says that the second half of the ranks of a LoRA is what the first half started from, negated. The halves are
	// added up one by one, as they were in training.
	Apart bool `json:"start_apart,omitempty"`
}

func (g *Grid) Check() error {
	switch {
	case g.Channels == ChannelScale || g.Channels == ChannelOffset:
		return fmt.Errorf("the channel %s is one of plain LoRA pairs only; other methods have %s, %s and %s", g.Channels, ChannelCode, ChannelRow, QATAuto)
	case !slices.Contains([]string{QATAuto, ChannelCode, ChannelRow}, g.Channels):
		if _, err := ParseChannels(g.Channels); err != nil {
			return err
		}
		return fmt.Errorf("the channels %s go together with plain LoRA pairs only; other methods have %s, %s and %s", g.Channels, ChannelCode, ChannelRow, QATAuto)
	}
	return CheckDither(g.Dither)
}

// ReadGrid reads what the metadata of an adapter's file say; "" is no grid.
func (c *Config) ReadGrid(text string) error {
	if text == "" {
		return nil
	}
	c.Grid = &Grid{}
	if err := json.Unmarshal([]byte(text), c.Grid); err != nil {
		return fmt.Errorf("metadata %s: %w", MetaGrid, err)
	}
	if err := c.Grid.Check(); err != nil {
		return fmt.Errorf("metadata %s: %w", MetaGrid, err)
	}
	return nil
}

// SameGrid reports a checkpoint that was made with another grid.
func (c *Config) SameGrid(saved string) error {
	var then Config
	if err := then.ReadGrid(saved); err != nil {
		return err
	}
	switch {
	case (then.Grid == nil) != (c.Grid == nil):
		return errors.New("of the run and this one only one is quantization-aware")
	case c.Grid != nil && *then.Grid != *c.Grid:
		return fmt.Errorf("the run requantized by %+v, this one by %+v", *then.Grid, *c.Grid)
	}
	return nil
}

// TrainOnGrid makes an adapter that is not yet trained, of any method that changes weights of linear maps, train what merging
// it will write: blocks of the base's own types. Each step rounds the weights that the method makes to the base's grid;
// gradients of the method's tensors are those of its unrounded weights. PEFT loads the adapter as one of its method. Errors
// say why a method cannot be trained so, and which weight has nothing to move.
func (a *Adapter) TrainOnGrid(b *Base, opt method.Quantized) error {
	g := &Grid{Channels: opt.Channels, Dither: opt.Dither, Seed: opt.Seed}
	if g.Channels == "" {
		g.Channels = QATAuto
	}
	if g.Dither == "" {
		g.Dither = DitherUniform
	}
	if err := g.Check(); err != nil {
		return fmt.Errorf("new adapter: %w", err)
	}
	a.Config.Grid = g
	bound, err := a.Bind(b)
	if err == nil && opt.Master {
		linears, _ := b.withCodes(bound.Effect.Blocks)
		if g.Master, err = b.IdentifyMaster(linears); err == nil {
			a.Origin.Master = Absolute(b.Master.Path)
		}
	}
	if err != nil {
		a.Config.Grid = nil
		return fmt.Errorf("quantization-aware training: %w", err)
	}
	return nil
}

// onGrid puts an attachment onto the grid of a base.
func onGrid(b *Base, inner Attachment, g *Grid, trained bool) (Attachment, error) {
	effect := inner.Effect()
	at := &gridAttachment{Hooks: inner, inner: effect, sites: map[*model.Linear]*gridSite{}, trained: trained}
	if err := onlyLinears(b, &effect); err != nil {
		return nil, err
	}
	changes := effect.Changes()
	for _, l := range b.Model.Linears() {
		c, ok := changes[l]
		if !ok {
			continue
		}
		channel, err := g.channelOf(l, &c)
		if err != nil {
			return nil, err
		}
		s := &gridSite{byRows: channel == ChannelRow}
		var rounding requant.Rounding // of rows: codes stay
		if !s.byRows {
			rounding = RoundingOf(g.Dither, g.Seed, l.Module)
		}
		s.Blocks = requant.NewBlocks(l, rounding)
		at.sites[l] = s
		at.order, at.blocks = append(at.order, s), append(at.blocks, &s.Blocks)
	}
	if g.Master != "" {
		return at, b.AttachMaster(g.Master, at.blocks)
	}
	return at, nil
}

// onlyLinears reports an attachment that does something else than change linear maps of layers.
func onlyLinears(b *Base, e *Effect) error {
	if e.Dropout {
		return errors.New("dropout takes inputs from a change that is part of the weights here: leave it out")
	}
	var changes map[*model.Linear]Change
	if e.Changes != nil {
		changes = e.Changes()
	}
	switch {
	case len(changes) == 0 && e.Vectors != nil:
		return errors.New("the method changes vectors alone, which merging writes as they are trained: it needs no quantization-aware training")
	case len(changes) == 0:
		return errors.New("the method changes no weight, so that there is nothing to merge: it works beside the base as it is")
	}
	linears := b.Model.Linears()
	for l := range changes {
		if !slices.Contains(linears, l) {
			return fmt.Errorf("only linear maps of layers can be requantized: leave %s out", l.Module)
		}
	}
	if e.Vectors != nil && slices.ContainsFunc(e.Vectors(), func(c VectorChange) bool { return c.Factors == nil }) {
		return errors.New("norms and biases cannot be trained beside blocks that are requantized: leave them out")
	}
	return nil
}

// channelOf is what of a weight's blocks takes up a change.
func (g *Grid) channelOf(l *model.Linear, c *Change) (string, error) {
	rows := c.ScalesRows()
	t := l.W.Type
	switch {
	case g.Channels == ChannelRow && !rows:
		return "", fmt.Errorf("tensor %s: its change is more than factors of rows, which is all that the channel %s holds: choose %s or %s", l.Tensor, ChannelRow, ChannelCode, QATAuto)
	case g.Channels == ChannelRow && !quant.HasScales(t):
		return "", fmt.Errorf("tensor %s is %v, whose scales cannot be changed by factors: choose %s", l.Tensor, t, ChannelCode)
	case rows && g.Channels != ChannelCode && quant.HasScales(t):
		return ChannelRow, nil
	case !quant.HasCodes(t):
		return "", errkind.Errorf(ErrNoCodes, "tensor %s is %v, whose weights have no codes of their own, as the "+
			"channel %s needs: choose plain LoRA pairs with the channel %s, which changes scales",
			l.Tensor, t, ChannelCode, QATAuto)
	}
	return ChannelCode, nil
}
