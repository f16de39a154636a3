package algebra

import (
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/lowrank"
)

// lowRanks takes a LoRA apart, in the order of the modules' names. An adapter that is no LoRA, or one that has more
// than pairs of matrices (magnitudes, whole tensors), is an error that names what it has.
func lowRanks(a *attach.Adapter) ([]lowrank.LowRank, error) {
	if a.Config.Method != attach.MethodLoRA {
		return nil, fmt.Errorf("the adapter's method is %s, expected %s", a.Config.Method, attach.MethodLoRA)
	}
	if len(a.Config.Parameters) > 0 {
		return nil, fmt.Errorf("the adapter has pairs for all experts in one tensor (target_parameters %s): only LoRAs on "+
			"modules can be calculated with", strings.Join(a.Config.Parameters, ", "))
	}
	at := map[string]*lowrank.LowRank{}
	var names []string
	for i := range a.Tensors {
		p := &a.Tensors[i]
		module, which, ok := attach.ParseLoRAName(p.Name)
		if !ok {
			return nil, fmt.Errorf("tensor %q is no lora_A or lora_B "+
				"of a linear map: only plain LoRAs can be calculated with", p.Name)
		}
		l := at[module]
		if l == nil {
			l = &lowrank.LowRank{Module: module, Scale: a.Config.ScaleOf(module)}
			at[module] = l
			names = append(names, module)
		}
		if which == "A" {
			l.A, l.Rank, l.In = p.Data, p.Rows(), p.Cols()
		} else {
			l.B, l.Out = p.Data, p.Rows()
		}
	}
	slices.Sort(names)
	list := make([]lowrank.LowRank, len(names))
	for i, name := range names {
		list[i] = *at[name]
	}
	return list, nil
}

// newLowRank makes a LoRA of pairs whose scales are 1. Its rank is the configuration's, its alpha the same, and pairs
// of another rank are in the rank and alpha patterns.
func newLowRank(c attach.Config, o attach.Origin, list []lowrank.LowRank) (*attach.Adapter, error) {
	c.Alpha = float64(c.Rank)
	pairs := make([]attach.Pair, len(list))
	for i, l := range list {
		pairs[i] = attach.Pair{LowRank: l, Alpha: float64(l.Rank)}
	}
	return attach.OfPairs(c, o, pairs)
}

// unionOfTargets says in PEFT's terms which modules several adapters have: by their target_modules where layers and
// excluded modules agree, by whole names otherwise.
func unionOfTargets(configs []*attach.Config, modules []string) (targets, exclude attach.Modules, layers []int) {
	first := configs[0]
	var names, expressions []string
	for _, c := range configs {
		same := slices.Equal(c.Layers, first.Layers) && slices.Equal(c.Exclude.Names, first.Exclude.Names) &&
			c.Exclude.Regex == first.Exclude.Regex && (c.Targets.Regex == "") == (first.Targets.Regex == "") &&
			!c.Targets.Empty()
		if !same {
			return attach.Modules{Names: slices.Sorted(slices.Values(modules))}, attach.Modules{}, nil
		}
		names = append(names, c.Targets.Names...)
		if expr := c.Targets.Regex; expr != "" && !slices.Contains(expressions, expr) {
			expressions = append(expressions, expr)
		}
	}
	slices.Sort(names)
	switch len(expressions) {
	case 0:
		return attach.Modules{Names: slices.Compact(names)}, first.Exclude, first.Layers
	case 1:
		return attach.Modules{Regex: expressions[0]}, first.Exclude, first.Layers
	}
	if slices.Contains(expressions, attach.AllLinear) {
		return attach.Modules{Regex: attach.AllLinear}, first.Exclude, first.Layers
	}
	return attach.Modules{Regex: "(" + strings.Join(expressions, ")|(") + ")"}, first.Exclude, first.Layers
}
