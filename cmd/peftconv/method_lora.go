package main

import (
	"fmt"
	"slices"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/peft"
)

// loraMethod is low-rank adaptation and its variants.
func loraMethod() *trainMethod {
	var opt peft.LoRAOptions
	var qat qatFlags
	return &trainMethod{
		name: "lora", short: "W + s·B·A, two thin matrices beside each weight",
		shared: []string{"rank", "alpha", "dropout", "targets", "layers"},
		flags: func(fs *pflag.FlagSet) {
			fs.BoolVar(&opt.RSLoRA, "rslora", false, "scale by alpha/√rank instead of alpha/rank")
			fs.StringVar(&opt.Init, "init", peft.InitKaiming, "how A starts, B being zero: `INIT` kaiming or gaussian")
			qat.add(fs)
		},
		check: func(f *methodFlags) error {
			if !slices.Contains([]string{peft.InitKaiming, peft.InitGaussian}, opt.Init) {
				return fmt.Errorf("--init: %q is not known, expected kaiming or gaussian", opt.Init)
			}
			return qat.check(f)
		},
		adapter: func(b *peft.Base, f *methodFlags) (*peft.Adapter, error) {
			if qat.channels != qatOff {
				return qat.adapter(b, f, opt.RSLoRA)
			}
			opt.Rank, opt.Alpha, opt.Dropout, opt.Targets, opt.Layers, opt.Seed = f.rank, f.alpha, f.dropout, f.targets, f.layers, f.seed
			return peft.NewLoRA(b, opt)
		},
	}
}
