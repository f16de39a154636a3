package eval_test

import (
	"math"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/eval"
	"github.com/peftconv/peftconv/peft/method"
)

// TestLossOfFiles wants the loss of each file of several to be that of the file alone, with virtual tokens too, which
// have targets of their own.
func TestLossOfFiles(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	prompt, err := attach.New(b, method.PromptTuning{VirtualTokens: 3})
	if err != nil {
		t.Fatal(err)
	}
	pefttest.Stir(prompt, 1)
	parts := []*attach.Data{pefttest.TinyData(5, 1), pefttest.TinyData(0, 2), pefttest.TinyData(7, 3)}
	whole := &attach.Data{}
	for i, part := range parts {
		whole.Examples = append(whole.Examples, part.Examples...)
		whole.Files = append(whole.Files, attach.File{Path: string(rune('a' + i)), End: whole.Len()})
	}
	for _, adapters := range [][]attach.Scaled{nil, {{Adapter: prompt, Scale: 1}}} {
		all, err := eval.Loss(t.Context(), pefttest.Base(b), pefttest.Scaled(adapters), pefttest.Data(whole), 64)
		if err != nil {
			t.Fatal(err)
		}
		if len(all.Files) != 2 || all.Files[0].Path != "a" || all.Files[1].Path != "c" {
			t.Fatalf("%+v", all.Files)
		}
		for i, part := range []*attach.Data{parts[0], parts[2]} {
			one, err := eval.Loss(t.Context(), pefttest.Base(b), pefttest.Scaled(adapters), pefttest.Data(part), 64)
			if err != nil {
				t.Fatal(err)
			}
			f := all.Files[i]
			if math.Abs(f.Loss-one.Loss) > 1e-6 || f.Tokens != one.Tokens || f.Examples != one.Examples || one.Files != nil {
				t.Errorf("%+v, alone %+v", f, one)
			}
		}
	}
}
