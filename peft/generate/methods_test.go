package generate

import (
	"context"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/pefttest"
)

// TestMethodGeneration: with a cache the tokens are those of whole forward passes.
func TestMethodGeneration(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	for _, c := range pefttest.MethodCases {
		t.Run(c.Name, func(t *testing.T) {
			a, err := c.New(b)
			if err != nil {
				t.Fatal(err)
			}
			pefttest.Stir(a, 5)
			r, err := run(context.Background(), b, []attach.Scaled{{Adapter: a, Scale: 1}}, "the cat",
				Options{N: 8, IgnoreEOG: true}, nil)
			if err != nil {
				t.Fatal(err)
			}
			bound, err := a.Bind(b)
			if err != nil {
				t.Fatal(err)
			}
			ids := attach.PromptIDs(b.Tokenizer, "the cat")
			for i, got := range r.IDs {
				packed := &batch.Batch{}
				packed.Append(ids, nil)
				bound.Expand(packed)
				logits := b.Model.Logits(autograd.NewTape(), packed, bound, []int{packed.Tokens() - 1}).Data
				s := newSampler(Options{})
				if want, err := s.next(logits); err != nil || got != want {
					t.Fatalf("token %d is %d, expected %d, %v", i, got, want, err)
				}
				ids = append(ids, got)
			}
		})
	}
}
