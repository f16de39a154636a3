package methods

import (
	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/method"
)

func init() { register(80, oftMethod) }

// oftMethod is orthogonal fine-tuning.
func oftMethod() *Method {
	var opt method.OFT
	return &Method{
		name: "oft", short: "a rotation of the inputs, in blocks",
		shared: qatMethods("targets", "layers"),
		flags: func(fs *pflag.FlagSet) {
			fs.IntVar(&opt.BlockSize, "block-size", 32, "`INPUTS` that are rotated together")
			fs.BoolVar(&opt.Share, "block-share", false, "the same rotation for all blocks of a weight")
			fs.BoolVar(&opt.Exact, "exact-rotation", false,
				"use the exact Cayley transform instead of the first terms of its series")
			fs.BoolVar(&opt.Constrained, "coft", false, "constrain rotations to be near the identity, within --coft-eps")
			fs.Float64Var(&opt.Eps, "coft-eps", 6e-5,
				"largest `DISTANCE` of a block from the identity, times the root of the number of blocks")
		},
		adapter: func(b *peft.Base, f *Flags) (*peft.Adapter, error) {
			opt.Placement = f.placement()
			return peft.New(b, opt)
		},
	}
}
