package methods

import (
	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/method"
)

// placement is where the flags put an adapter; what was not given is the method's choice.
func (f *Flags) placement() method.Placement {
	p := method.Placement{Layers: f.layers, Seed: f.Seed}
	if f.flagSet.Changed("targets") {
		p.Targets = f.targets
	}
	return p
}

// givenRank is --rank, or 0 where it was not given: the method's choice.
func (f *Flags) givenRank() int {
	if f.flagSet.Changed("rank") {
		return f.rank
	}
	return 0
}

func init() { register(20, ia3Method) }

// ia3Method is (IA)³.
func ia3Method() *Method {
	var opt method.IA3
	return &Method{
		name: "ia3", short: "a factor for each output of k_proj and v_proj and each input of down_proj",
		shared: qatMethods("targets", "layers"),
		flags: func(fs *pflag.FlagSet) {
			fs.StringSliceVar(&opt.FeedForward, "scaled-inputs", []string{"down_proj"}, "which of the --targets (default k_proj,v_proj,down_proj) have their "+
				"inputs scaled instead of their outputs: `WEIGHTS` as --targets has them")
		},
		adapter: func(b *peft.Base, f *Flags) (*peft.Adapter, error) {
			opt.Placement = f.placement()
			return peft.New(b, opt)
		},
	}
}

func init() { register(30, lnTuningMethod) }

func lnTuningMethod() *Method {
	return &Method{
		name: "ln-tuning", short: "the weights of the norms",
		shared: []string{"targets", "layers"},
		adapter: func(b *peft.Base, f *Flags) (*peft.Adapter, error) {
			p := f.placement()
			return peft.New(b, method.LNTuning{Targets: p.Targets, Layers: p.Layers})
		},
	}
}

func init() { register(40, bitFitMethod) }

func bitFitMethod() *Method {
	return &Method{
		name: "bitfit", short: "a bias for each output of the linear maps",
		shared: []string{"targets", "layers"},
		adapter: func(b *peft.Base, f *Flags) (*peft.Adapter, error) {
			return peft.New(b, method.BitFit{Placement: f.placement()})
		},
	}
}

func init() { register(50, lohaMethod) }

// lohaMethod is the low-rank Hadamard product.
func lohaMethod() *Method {
	return &Method{
		name: "loha", short: "the element-wise product of two low-rank changes, of a rank up to the square of --rank",
		shared: qatMethods("rank", "alpha", "targets", "layers"),
		adapter: func(b *peft.Base, f *Flags) (*peft.Adapter, error) {
			return peft.New(b, method.LoHa{Placement: f.placement(), Rank: f.rank, Alpha: f.alpha})
		},
	}
}

func init() { register(60, lokrMethod) }

// lokrMethod is the low-rank Kronecker product.
func lokrMethod() *Method {
	var opt method.LoKr
	return &Method{
		name: "lokr", short: "the Kronecker product of two small matrices",
		shared: qatMethods("rank", "alpha", "targets", "layers"),
		flags: func(fs *pflag.FlagSet) {
			fs.IntVar(&opt.Factor, "factor", -1, "`SIZE` of the first matrix, where it divides that of the weight; -1 is near the square root")
			fs.BoolVar(&opt.DecomposeBoth, "decompose-both", false, "decompose the first matrix into a low-rank product too")
		},
		adapter: func(b *peft.Base, f *Flags) (*peft.Adapter, error) {
			opt.Placement, opt.Rank, opt.Alpha = f.placement(), f.rank, f.alpha
			return peft.New(b, opt)
		},
	}
}

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
			fs.BoolVar(&opt.Exact, "exact-rotation", false, "use the exact Cayley transform instead of the first terms of its series")
			fs.BoolVar(&opt.Constrained, "coft", false, "constrain rotations to be near the identity, within --coft-eps")
			fs.Float64Var(&opt.Eps, "coft-eps", 6e-5, "largest `DISTANCE` of a block from the identity, times the root of the number of blocks")
		},
		adapter: func(b *peft.Base, f *Flags) (*peft.Adapter, error) {
			opt.Placement = f.placement()
			return peft.New(b, opt)
		},
	}
}

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
