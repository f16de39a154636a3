package methods

import (
	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/method"
)

func init() { register(100, adapterMethod) }

// adapterMethod is bottleneck adapters.
func adapterMethod() *Method {
	var opt method.Bottleneck
	return &Method{
		name: "adapter", short: "small networks after or beside attention and FFN",
		shared: []string{"layers"},
		flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&opt.Placement, "placement", method.Parallel,
				"`WHERE` adapters stand: serial-houlsby (after a part of a layer), serial-pfeiffer "+
					"(after its addition to the stream) or parallel (beside it)")
			fs.IntVar(&opt.Bottleneck, "bottleneck", 32, "`WIDTH` between the projections")
			fs.StringVar(&opt.Activation, "activation", "silu", "`FUNCTION` between the projections: relu, gelu, silu or swiglu")
			fs.Float64Var(&opt.Scale, "scale", 1, "multiply the output of an adapter by `FACTOR`")
			fs.StringSliceVar(&opt.Parts, "parts", nil,
				"`PARTS` of a layer with an adapter: attention, ffn; by default ffn, for serial-houlsby both")
			fs.StringVar(&opt.Input, "adapter-input", method.InputNorm,
				"what parallel and serial-pfeiffer adapters read: `INPUT` norm (which llama.cpp can run) "+
					"or stream (as AdapterHub has them)")
		},
		check: func(*Flags) error { return peft.CheckOptions(opt) },
		adapter: func(b *peft.Base, f *Flags) (*peft.Adapter, error) {
			opt.Layers, opt.Seed = f.layers, f.Seed
			return peft.New(b, opt)
		},
	}
}
