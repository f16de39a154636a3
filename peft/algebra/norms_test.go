package algebra

import (
	"math"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

// TestNorms compares the norms of methods' changes with sums over the matrices, and those without the base.
func TestNorms(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	for _, opt := range []method.Options{method.LoRA{Rank: 3, Alpha: 6}, method.LoRA{Rank: 2, DoRA: true}, method.IA3{},
		method.OFT{BlockSize: 8}, method.PromptTuning{}} {
		a, err := attach.New(b, opt)
		if err != nil {
			t.Fatal(err)
		}
		pefttest.Stir(a, 1)
		norms, err := Norms(t.Context(), pefttest.Adapter(a), pefttest.Base(b))
		if err != nil {
			t.Fatal(err)
		}
		bound, err := a.Bind(b)
		if err != nil {
			t.Fatal(err)
		}
		changes := bound.Changes()
		if len(norms) != len(changes) {
			t.Errorf("%s: %d norms of %d changes", a.Describe(), len(norms), len(changes))
		}
		for _, n := range norms {
			at := slices.IndexFunc(b.Model.Matrices(), func(l *model.Linear) bool { return l.Module == n.Module })
			l := b.Model.Matrices()[at]
			change, weight := make([]float32, l.W.Rows*l.W.Cols), make([]float32, l.W.Rows*l.W.Cols)
			c := changes[l]
			c.AddRows(change, 0, l.W.Rows)
			l.W.Tile(weight, l.W.Cols, 0, l.W.Rows, 0, l.W.Cols)
			var d, w float64
			for i := range change {
				d, w = d+float64(change[i])*float64(change[i]), w+float64(weight[i])*float64(weight[i])
			}
			if math.Abs(n.Change/math.Sqrt(d)-1) > 1e-5 || math.Abs(n.Base/math.Sqrt(w)-1) > 1e-5 {
				t.Errorf("%s: %+v, want %v of %v", a.Describe(), n, math.Sqrt(d), math.Sqrt(w))
			}
		}
		alone, err := Norms(t.Context(), pefttest.Adapter(a), nil)
		if lora, ok := opt.(method.LoRA); !ok || lora.DoRA {
			if err == nil {
				t.Errorf("%s: norms without a base", a.Describe())
			}
			continue
		}
		if err != nil || len(alone) != len(norms) {
			t.Fatalf("%d norms without the base, %v", len(alone), err)
		}
		for _, n := range norms {
			at := slices.IndexFunc(alone, func(m ModuleNorm) bool { return m.Module == n.Module })
			if at < 0 || math.Abs(alone[at].Change/n.Change-1) > 1e-5 || alone[at].Base != 0 {
				t.Errorf("without the base: %+v, with it %+v", alone[max(at, 0)], n)
			}
		}
	}
}
