package train

import (
	"context"
	"errors"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/pefttest"
)

// familyNamed is the family of a method's name.
func familyNamed(name string) (*attach.Family, error) {
	for _, f := range attach.Families {
		if f.Name == name {
			return f, nil
		}
	}
	return nil, errors.New("there is no method " + name)
}

// TestMethodsOverQuantized trains every method over weights in K types, and over the same weights in float32: the
// losses are the same within noise.
func TestMethodsOverQuantized(t *testing.T) {
	if testing.Short() {
		t.Skip("training takes seconds")
	}
	whole := pefttest.TinyK
	whole.TypeOf = nil
	bases := []*attach.Base{pefttest.OpenBase(t, whole.WriteGGUF(t)), pefttest.OpenBase(t, pefttest.WriteTinyK(t))}
	for _, c := range pefttest.MethodCases {
		if f, err := familyNamed(c.Name); err != nil || f.Settings == nil {
			continue // a variant: one of each method is enough
		}
		t.Run(c.Name, func(t *testing.T) {
			var gains []float64
			for _, b := range bases {
				a, err := c.New(b)
				if err != nil {
					t.Fatal(err)
				}
				opt := trainOptions("")
				opt.Epochs, opt.Steps = 0, 10
				r, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), pefttest.TinyData(24, 1), plain(opt))
				if err != nil {
					t.Fatal(err)
				}
				gains = append(gains, *r.BaseLoss-*r.EvalLoss)
			}
			t.Logf("the loss falls by %.3f over float32, by %.3f over K types", gains[0], gains[1])
			if gains[1] < 0.75*gains[0] || gains[0] < 0.75*gains[1] || gains[0] < 0.01 {
				t.Error("which is not the same")
			}
		})
	}
}
