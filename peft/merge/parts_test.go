package merge

import (
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
)

// TestMethodsMergeIntoParts merges every method into tensors that hold rows of several linear maps, and into biases
// that do: logits are those of base and adapter.
func TestMethodsMergeIntoParts(t *testing.T) {
	seq := pefttest.Packed(pefttest.TinyData(4, 1))
	for _, m := range pefttest.PartCases(t, gguf.F32) {
		b := pefttest.OpenModel(t, &m)
		for _, c := range pefttest.MethodCases {
			t.Run(m.Name+" "+c.Name, func(t *testing.T) {
				a, err := c.New(b)
				if err != nil && m.Name == "phi3" {
					t.Skip(err) // it has not the linear maps
				}
				if err != nil {
					t.Fatal(err)
				}
				if !mergeable(t, a, b) {
					t.Skip("it is no change of weights")
				}
				pefttest.Stir(a, 5)
				scaled := attach.Scaled{Adapter: a, Scale: 1}
				hooks, err := attach.BindAll(b, []attach.Scaled{scaled})
				if err != nil {
					t.Fatal(err)
				}
				want := pefttest.AllLogits(b, hooks, seq)
				if pefttest.Relative(want, pefttest.AllLogits(b, model.NoHooks{}, seq)) < 1e-3 {
					t.Fatal("the adapter changes next to nothing")
				}
				out, report := mergeTo(t, b, Options{}, scaled)
				merged := pefttest.OpenBase(t, out)
				if err := pefttest.Relative(pefttest.AllLogits(merged, model.NoHooks{}, seq), want); err > 5e-5 {
					t.Errorf("merged the logits differ by %.2g", err)
				}
				if report.Recovery < 0.999 || report.Recovery > 1.001 {
					t.Errorf("the recovery is %v", report.Recovery)
				}
			})
		}
	}
}
