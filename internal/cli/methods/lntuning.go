package methods

import (
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/method"
)

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
