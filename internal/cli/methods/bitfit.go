package methods

import (
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/method"
)

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
