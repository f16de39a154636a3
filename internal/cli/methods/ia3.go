package methods

import (
	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/method"
)

func init() { register(20, ia3Method) }

// ia3Method is (IA)³.
func ia3Method() *Method {
	var opt method.IA3
	return &Method{
		name: "ia3", short: "a factor for each output of k_proj and v_proj and each input of down_proj",
		shared: qatMethods("targets", "layers"),
		flags: func(fs *pflag.FlagSet) {
			fs.StringSliceVar(&opt.FeedForward, "scaled-inputs", nil,
				"which of the --targets (default k_proj,v_proj,down_proj, or what has their place) have their inputs scaled "+
					"instead of their outputs: `WEIGHTS` as --targets has them; default the down-projections")
		},
		adapter: func(b *peft.Base, f *Flags) (*peft.Adapter, error) {
			opt.Placement = f.placement()
			return peft.New(b, opt)
		},
	}
}
