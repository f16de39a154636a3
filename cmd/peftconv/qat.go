package main

import (
	"errors"
	"fmt"
	"math"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/peft"
)

// qatOff is the value of --qat that trains an ordinary LoRA.
const qatOff = "off"

// qatFlags are the flags of training on the grid of a quantized base, an option of the method lora.
type qatFlags struct {
	channels string
	dither   string
}

func (f *qatFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.channels, "qat", qatOff, "train what merge will write: move the `CHANNELS` of the base's own blocks, so that the merged file has its "+
		"types and size and is the trained model bit for bit; scale, offset, row, code, several with +, auto (by type, what keeps most) or off")
	fs.StringVar(&f.dither, "qat-dither", peft.DitherUniform, "where a weight goes over to the next level with --qat code: `WHERE` is uniform (each elsewhere, so that small "+
		"changes move some) or none (half-way)")
}

func (f *qatFlags) check(m *methodFlags) error {
	if f.channels == qatOff {
		if f.dither != peft.DitherUniform {
			return errors.New("--qat-dither: needs --qat")
		}
		return nil
	}
	if _, err := peft.ParseChannels(f.channels); err != nil {
		return fmt.Errorf("--qat: %w", err)
	}
	switch {
	case f.dither != peft.DitherNone && f.dither != peft.DitherUniform:
		return fmt.Errorf("--qat-dither: %q is not known, expected %s or %s", f.dither, peft.DitherNone, peft.DitherUniform)
	case m.dropout > 0:
		return errors.New("--dropout: does not go with --qat, where the adapter has no input of its own")
	}
	return nil
}

// adapter makes the untrained adapter.
func (f *qatFlags) adapter(b *peft.Base, m *methodFlags, rslora bool) (*peft.Adapter, error) {
	opt := peft.QATOptions{
		Channels: f.channels, Dither: f.dither, Rank: m.rank, Alpha: m.alpha, Targets: m.targets, Layers: m.layers, Seed: m.seed,
	}
	if opt.Alpha == 0 {
		opt.Alpha = 2 * float64(m.rank)
	}
	if rslora {
		opt.Alpha *= math.Sqrt(float64(m.rank))
	}
	return peft.NewQAT(b, opt)
}
