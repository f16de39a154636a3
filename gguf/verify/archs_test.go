package verify

import (
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/archtest"
)

// TestArchitectures finds nothing in whole models of every architecture, and each tensor of the first layer that is
// missing.
func TestArchitectures(t *testing.T) {
	for _, m := range archtest.All() {
		t.Run(m.Name, func(t *testing.T) {
			meta, tensors := m.Meta(t), m.Tensors(t)
			if r := look(t, write(t, meta, tensors, nil), Options{}); len(r.Problems)+len(r.Notes) > 0 {
				t.Errorf("in a whole model:\n%s\n%s", lines(r.Problems), lines(r.Notes))
			}
			for i := range tensors {
				name := tensors[i].Name
				known, layer, ok := arch.ByName(m.Arch).InGGUF(name)
				if !ok || layer > 0 || known.Optional || known.Role == arch.OutputHead {
					continue
				}
				r := look(t, write(t, meta, slices.Delete(slices.Clone(tensors), i, i+1), nil), Options{Quick: true})
				found := lines(r.Problems)
				if known.Role == arch.TokenEmbedding { // its rows are the vocabulary
					name = "vocabulary"
				}
				fused := known.Within.In(false, layer)
				if !strings.Contains(found, name) && (fused == "" || !strings.Contains(found, fused)) {
					t.Errorf("without %s: %q", tensors[i].Name, found)
				}
			}
			odd := append(slices.Clone(tensors), gguf.Tensor{Name: "blk.0.odd.weight", Shape: []int64{4, 4}})
			if r := look(t, write(t, meta, odd, nil), Options{}); len(r.Problems)+len(r.Notes) == 0 {
				t.Error("nothing about a tensor that no such model has")
			}
		})
	}
}
