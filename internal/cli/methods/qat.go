package methods

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/peft/train"
)

// qatOff is the value of --qat that trains an ordinary adapter.
const qatOff = "off"

// QATFlags are the flags of quantization-aware training, which methods that change weights have.
type QATFlags struct {
	channels string
	dither   string
	Latent   string
}

func (f *QATFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.channels, "qat", qatOff,
		"train the quantized weights that merge will write: the `CHANNELS` of the base's own blocks; the merged "+
			"file has its types and size and is the trained model bit for bit; scale, offset, row, code, several "+
			"with +, auto (by type, what keeps most) or off; methods other than plain LoRA have code, row and auto")
	fs.StringVar(&f.dither, "qat-dither", method.DitherUniform, "how the codes of --qat code "+
		"are rounded: `HOW` is uniform (stochastically, right on average) or none (to nearest)")
	fs.StringVar(&f.Latent, "latent", "",
		"the weights that the base was quantized from, which --qat code then rounds to nearest: "+
			"a GGUF or safetensors `FILE`, a Hugging Face directory or a name")
	cli.Models(fs, "latent")
}

// AddStore adds the flag that says what a file has of weights that are trained quantization-aware.
func AddStore(fs *pflag.FlagSet, form *string) {
	fs.StringVar(form, "qat-store", train.StoreSmallest,
		"what --out has of each weight of plain LoRA pairs with --qat: the `FORM` pairs, blocks (the new blocks, "+
			"compressed; --lora FILE:SCALE cannot scale them), or smallest, for each weight the smaller one")
	cli.Detail(fs, "qat-store")
	cli.Choices(fs, "qat-store", train.StoreForms()...)
}

// CheckStore checks it, and leaves it to the library where it is not given. further says that an adapter from a file is
// trained further.
func (f *Flags) CheckStore(form *string, further bool) error {
	switch forms := train.StoreForms(); {
	case !slices.Contains(forms, *form):
		return fmt.Errorf("--qat-store: %q is not known, expected %s", *form, strings.Join(forms, ", "))
	case !f.flagSet.Changed("qat-store"):
		*form = ""
	case !further && !f.QAT.On():
		return errors.New("--qat-store: needs --qat")
	}
	return nil
}

// qatMethods lists the flags that a method shares, with those of quantization-aware training.
func qatMethods(flags ...string) []string { return append(flags, "qat", "qat-dither", "latent") }

// On reports whether training is quantization-aware.
func (f *QATFlags) On() bool { return f.channels != qatOff }

// check checks the values. plain says that the method is LoRA of plain pairs, which has channels of its own.
func (f *QATFlags) check(m *Flags, plain bool) error {
	if !f.On() {
		if f.dither != method.DitherUniform {
			return errors.New("--qat-dither: needs --qat")
		}
		if f.Latent != "" {
			return errors.New("--latent: needs --qat")
		}
		return nil
	}
	channels, err := attach.ParseChannels(f.channels)
	if err != nil {
		return fmt.Errorf("--qat: %w", err)
	}
	switch {
	case f.Latent != "" && channels != nil && !slices.Contains(channels, method.ChannelCode):
		return fmt.Errorf("--latent: gives the master weights of the channel code, which --qat %s does not have", f.channels)
	case f.dither != method.DitherNone && f.dither != method.DitherUniform:
		return fmt.Errorf("--qat-dither: %q is not known, expected %s or %s", f.dither, method.DitherNone,
			method.DitherUniform)
	case m.dropout > 0:
		return errors.New("--dropout: cannot be combined with --qat, where " +
			"the change is part of the weights and has no input of its own")
	case plain || channels == nil:
		return nil
	case len(channels) > 1 || !slices.Contains([]string{method.ChannelCode, method.ChannelRow}, channels[0]):
		return fmt.Errorf("--qat %s: is for plain LoRA pairs only (--method lora without --dora, --init and patterns); "+
			"choose code, row or auto", f.channels)
	}
	return nil
}

// refusesQAT says why a method has no --qat.
func refusesQAT(method string) string {
	switch method {
	case "ln-tuning", "bitfit":
		return "it trains vectors, which merge writes as they are: leave --qat out, nothing is lost without it"
	case "adapter":
		return "it adds networks of its own and leaves the weights as they are, so that nothing is merged: leave --qat " +
			"out, or choose --method lora"
	}
	return "it changes no weight, so that nothing is merged and the base's " +
		"blocks stay as they are: leave --qat out, or choose --method lora"
}

// pairs makes an untrained adapter of plain LoRA pairs.
func (f *QATFlags) pairs(b *peft.Base, m *Flags, rslora bool) (*peft.Adapter, error) {
	opt := method.QAT{
		Channels: f.channels, Dither: f.dither, Rank: m.rank,
		Alpha: m.alpha, Targets: m.targets, Layers: m.layers, Seed: m.Seed,
		Master: f.Latent != "",
	}
	if opt.Alpha == 0 {
		opt.Alpha = 2 * float64(m.rank)
	}
	if rslora {
		opt.Alpha *= math.Sqrt(float64(m.rank))
	}
	return peft.New(b, opt)
}

// apply turns on quantization-aware training for an adapter of any other method.
func (f *QATFlags) apply(b *peft.Base, a *peft.Adapter, seed uint64) error {
	if !f.On() || a.Quantized() {
		return nil
	}
	return a.TrainQuantized(b, method.Quantized{Channels: f.channels, Dither: f.dither, Seed: seed,
		Master: f.Latent != ""})
}
