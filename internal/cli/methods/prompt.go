package methods

import (
	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/method"
)

func init() { register(110, promptMethod) }

func promptMethod() *Method {
	var opt method.PromptTuning
	return &Method{
		name: "prompt-tuning", short: "virtual tokens before the input",
		shared: []string{"virtual-tokens", "prompt-text"},
		flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&opt.Init, "prompt-init", "",
				"how virtual tokens are initialized: `INIT` random, sampled-vocab (embeddings of "+
					"random tokens) or text (those of --prompt-text); by default text where there is one, else sampled-vocab")
		},
		check: func(f *Flags) error {
			opt.VirtualTokens, opt.Text = f.virtualTokens, f.promptText
			return peft.CheckOptions(opt)
		},
		adapter: func(b *peft.Base, f *Flags) (*peft.Adapter, error) {
			opt.Seed = f.Seed
			return peft.New(b, opt)
		},
	}
}
