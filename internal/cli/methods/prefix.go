package methods

import (
	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/method"
)

func init() { register(120, prefixMethod) }

func prefixMethod() *Method {
	var opt method.PrefixTuning
	return &Method{
		name: "prefix-tuning", short: "keys and values before the attention of every layer",
		shared: []string{"virtual-tokens", "prompt-text", "encoder-hidden"},
		flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&opt.Init, "prefix-init", "",
				"how keys and values are initialized: `INIT` random, sampled-vocab (the model's own "+
					"for random tokens) or text (its own for --prompt-text); by default text where there is one, else sampled-vocab")
			fs.BoolVar(&opt.Projection, "prefix-projection", false,
				"train them through a two-layer network, which is dropped after training")
		},
		check: func(f *Flags) error {
			opt.VirtualTokens, opt.Text, opt.EncoderHidden = f.virtualTokens, f.promptText, f.encoderHidden
			return peft.CheckOptions(opt)
		},
		adapter: func(b *peft.Base, f *Flags) (*peft.Adapter, error) {
			opt.Seed = f.Seed
			return peft.New(b, opt)
		},
	}
}
