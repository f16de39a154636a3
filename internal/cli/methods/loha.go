package methods

import (
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/method"
)

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
