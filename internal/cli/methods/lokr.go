package methods

import (
	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/method"
)

func init() { register(60, lokrMethod) }

// lokrMethod is the low-rank Kronecker product.
func lokrMethod() *Method {
	var opt method.LoKr
	return &Method{
		name: "lokr", short: "the Kronecker product of two small matrices",
		shared: qatMethods("rank", "alpha", "targets", "layers"),
		flags: func(fs *pflag.FlagSet) {
			fs.IntVar(&opt.Factor, "factor", -1,
				"`SIZE` of the first matrix, where it divides that of the weight; -1 is near the square root")
			fs.BoolVar(&opt.DecomposeBoth, "decompose-both", false, "decompose the first matrix into a low-rank product too")
		},
		adapter: func(b *peft.Base, f *Flags) (*peft.Adapter, error) {
			opt.Placement, opt.Rank, opt.Alpha = f.placement(), f.rank, f.alpha
			return peft.New(b, opt)
		},
	}
}
