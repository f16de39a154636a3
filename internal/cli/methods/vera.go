package methods

import (
	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/method"
)

func init() { register(70, veraMethod) }

// veraMethod is vectors on shared random matrices.
func veraMethod() *Method {
	var opt method.VeRA
	return &Method{
		name: "vera", short: "vectors on two random matrices that all weights share (--rank is 256 by default)",
		shared: qatMethods("rank", "dropout", "targets", "layers"),
		flags: func(fs *pflag.FlagSet) {
			fs.Float64Var(&opt.Start, "d-start", 0.1, "initial `VALUE` of the vectors between the matrices")
			fs.Uint32Var(&opt.Key, "projection-key", 0, "`SEED` of the random matrices; the same seed gives those of PEFT")
		},
		adapter: func(b *peft.Base, f *Flags) (*peft.Adapter, error) {
			opt.Placement, opt.Rank, opt.Dropout = f.placement(), f.givenRank(), f.dropout
			return peft.New(b, opt)
		},
	}
}
