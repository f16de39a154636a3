package attach_test

import (
	"slices"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/pefttest"
)

// TestTargetsOfExperts: what is chosen among experts and fused maps, by Hugging Face's names and by GGUF's, and how it
// is described.
func TestTargetsOfExperts(t *testing.T) {
	models := archtest.Parts(gguf.F32)
	b := pefttest.OpenModel(t, &models[5])
	for _, c := range []struct {
		targets []string
		layers  []int
		n       int
		names   []string // nil: of all that are chosen
	}{
		{[]string{"all-linear"}, nil, 2 * (4 + 1 + 3*4),
			[]string{"gate", "k_proj", "o_proj", "q_proj", "v_proj", "w1", "w2", "w3"}},
		{[]string{"w1"}, nil, 8, []string{"w1"}},
		{[]string{"w1", "attn_q"}, []int{1}, 5, []string{"q_proj", "w1"}},
		{[]string{"attn_qkv"}, nil, 6, []string{"k_proj", "q_proj", "v_proj"}},
		{[]string{"ffn_gate_up_exps"}, []int{0}, 8, []string{"w1", "w3"}},
		{[]string{"blk.1.ffn_down_exps"}, nil, 4, []string{"w2"}},
		{[]string{"experts.2.w1"}, nil, 2, nil},
		{[]string{"*.experts.[01].w?", "gate"}, []int{0}, 7, nil},
	} {
		chosen, err := attach.SelectTargets(b, c.targets, c.layers)
		if err != nil || len(chosen) != c.n {
			t.Errorf("%v: %d are chosen, %v", c.targets, len(chosen), err)
			continue
		}
		where, layers := attach.DescribeTargets(b, chosen)
		if c.names == nil {
			c.names = slices.Sorted(slices.Values(chosen))
		}
		if !slices.Equal(where.Names, c.names) {
			t.Errorf("%v: described by %v", c.targets, where.Names)
		}
		in := func(i int) bool { return layers == nil || slices.Contains(layers, i) }
		for i, layer := range b.Model.Layers {
			for _, l := range layer.Linears() {
				if (in(i) && where.Match(l.Module)) != slices.Contains(chosen, l.Module) {
					t.Errorf("%v: %s is not described", c.targets, l.Module)
				}
			}
		}
	}
}
