package merge

import (
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

// TestArchitecturesMerge merges adapters of weights, scales, norms and biases into models of every architecture: logits
// are those of base and adapter.
func TestArchitecturesMerge(t *testing.T) {
	everywhere := method.Placement{Targets: []string{"all-linear"}}
	kinds := map[string]func(b *attach.Base) (*attach.Adapter, error){
		"lora":      func(b *attach.Base) (*attach.Adapter, error) { return methods.NewLoRA(b, method.LoRA{Rank: 2}) },
		"ln-tuning": func(b *attach.Base) (*attach.Adapter, error) { return methods.NewLNTuning(b, method.LNTuning{}) },
		"bitfit":    func(b *attach.Base) (*attach.Adapter, error) { return methods.NewBitFit(b, method.BitFit{}) },
		"ia3": func(b *attach.Base) (*attach.Adapter, error) {
			return methods.NewIA3(b, method.IA3{Placement: everywhere, FeedForward: []string{"ffn_down", "ffn_down_exps"}})
		},
	}
	seq := pefttest.Packed(pefttest.TinyData(4, 1))
	for _, m := range archtest.All() {
		b := pefttest.OpenModel(t, &m)
		base := pefttest.AllLogits(b, model.NoHooks{}, seq)
		for kind, make := range kinds {
			t.Run(m.Name+" "+kind, func(t *testing.T) {
				a, err := make(b)
				if err != nil && strings.Contains(err.Error(), "no tensor in it") {
					t.Skip("there is no bias")
				}
				if err != nil {
					t.Fatal(err)
				}
				pefttest.Stir(a, 5)
				want := pefttest.AllLogits(b, pefttest.BindOne(t, a, b), seq)
				if pefttest.Relative(want, base) < 1e-3 {
					t.Fatal("the adapter changes next to nothing")
				}
				out, _ := mergeTo(t, b, Options{}, attach.Scaled{Adapter: a, Scale: 1})
				got := pefttest.AllLogits(pefttest.OpenBase(t, out), model.NoHooks{}, seq)
				if miss := pefttest.Relative(got, want); !(miss < 1e-4) {
					t.Errorf("merged the logits differ by %.2g", miss)
				}
			})
		}
	}
}
