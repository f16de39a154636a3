package methods

import (
	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/method"
)

func init() { register(90, adaloraMethod) }

// adaloraMethod is LoRA with ranks that are allocated in training.
func adaloraMethod() *Method {
	var opt method.AdaLoRA
	return &Method{
		name: "adalora", short: "LoRA whose ranks, --rank on average, go to where they matter most",
		shared: qatMethods("rank", "alpha", "dropout", "targets", "layers"),
		flags: func(fs *pflag.FlagSet) {
			fs.IntVar(&opt.StartRank, "start-rank", 0, "`RANK` of each weight at the start; 0 is half as much again as --rank")
			fs.Float64Var(&opt.Warmup, "rank-warmup", 0.1, "`SHARE` of the steps before ranks are reduced")
			fs.Float64Var(&opt.Final, "rank-final", 0.3, "`SHARE` of the steps at the end, with fixed ranks")
			fs.IntVar(&opt.Interval, "rank-interval", 1, "allocate ranks every `N` steps")
			fs.Float64Var(&opt.Orthogonal, "orthogonal", 0.1, "`WEIGHT` of the orthogonality penalty; 0 is none")
		},
		adapter: func(b *peft.Base, f *Flags) (*peft.Adapter, error) {
			opt.Placement, opt.Rank, opt.Alpha, opt.Dropout = f.placement(), f.rank, f.alpha, f.dropout
			for _, p := range []*float64{&opt.Warmup, &opt.Final, &opt.Orthogonal} {
				if *p == 0 {
					*p = -1 // none, which is not the option's default
				}
			}
			return peft.New(b, opt)
		},
	}
}
