package methods

import (
	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/method"
)

func init() { register(130, pTuningMethod) }

func pTuningMethod() *Method {
	var opt method.PTuning
	return &Method{
		name: "p-tuning", short: "virtual tokens anywhere, made by an encoder",
		shared: []string{"virtual-tokens", "encoder-hidden", "template"},
		flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&opt.Encoder, "encoder", method.EncoderLSTM, "the network "+
				"that produces virtual tokens in training: `ENCODER` lstm or mlp")
			fs.IntVar(&opt.Layers, "encoder-layers", 2, "`N` layers of the lstm")
			fs.Float64Var(&opt.Dropout, "encoder-dropout", 0, "`PROBABILITY` of dropping a value between the layers of the lstm")
		},
		check: func(f *Flags) error {
			opt.VirtualTokens, opt.Hidden, opt.Template = f.virtualTokens, f.encoderHidden, f.Template
			return peft.CheckOptions(opt)
		},
		adapter: func(b *peft.Base, f *Flags) (*peft.Adapter, error) {
			opt.Seed = f.Seed
			return peft.New(b, opt)
		},
	}
}
