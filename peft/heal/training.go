package heal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/peft/train"
)

// Training is the training end to end that follows the layers: an adapter of the channel scale learns the teacher's
// probabilities on the calibration text (train.Teacher with Alpha 1), and is merged bit for bit.
type Training struct {
	Rank     int           // of the adapter; 0: 16
	Channels string        // what of the blocks is trained; "": method.ChannelScale
	Options  train.Options // steps, rate, seed, observer …; Teacher, Out and Resume are set by Run
}

// gentler is by how much the rate is below the one for a new task, where none is given: there is less to learn.
const gentler = 5

// train trains over the file of the layers and writes the healed model.
func (h *healer) train(ctx context.Context, stage string, data *peft.Data) (err error) {
	b, err := peft.OpenBase(stage)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	t := h.opt.Training
	channels := cmp.Or(t.Channels, method.ChannelScale)
	a, err := peft.New(b, method.QAT{Rank: cmp.Or(t.Rank, 16), Channels: channels, Seed: t.Options.Seed})
	if err != nil {
		return fmt.Errorf("training end to end: %w", err)
	}
	opt := t.Options
	if opt.LR == 0 {
		opt.LR = a.SuggestLR(b) / gentler
	}
	opt.Out = stage + ".safetensors"
	opt.Teacher = &train.Teacher{Base: handle.OfBase(h.theirs).(*peft.Base), Alpha: 1}
	checkpoint := train.CheckpointPath(opt.Out)
	if _, err := os.Stat(checkpoint); err == nil && h.opt.Resume {
		opt.Resume = checkpoint
	}
	if _, err := train.Run(ctx, b, a, data, nil, opt); err != nil {
		return err
	}
	if _, err := merge.Run(ctx, b, []peft.Scaled{{Adapter: a, Scale: 1}}, h.out, merge.Options{}); err != nil {
		return err
	}
	return errors.Join(removed(opt.Out), removed(checkpoint))
}
