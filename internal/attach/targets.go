package attach

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/model"
)

// SelectTargets lists the linear maps of a base that targets choose in the given layers (nil is all), by their Hugging
// Face names and in the order of the model. A target is one of
//
//	all-linear              every linear map of the layers
//	attention, ffn          those of the attention, of the feed-forward network
//	q_proj, mlp.up_proj     a name or its last dotted parts, as in PEFT
//	experts.gate_up_proj    a parameter of all experts, for a LoRA in PEFT's form of target_parameters
//	attn_q, blk.0.attn_q    the same in GGUF's names, those of tensors with rows of several maps among them
//	*.self_attn.?_proj      a glob over the whole name; * also matches dots
//	re:.*[qv]_proj          a regular expression for the whole name, as PEFT's target_modules string
//	embed_tokens, lm_head   the embedding table and the output head, which no other target chooses
//
// A target that chooses nothing is an error that lists what there is.
func SelectTargets(b *Base, targets []string, layers []int) ([]string, error) {
	used := make([]bool, len(targets))
	var chosen []string
	for i, layer := range b.Model.Layers {
		if layers != nil && !slices.Contains(layers, i) {
			continue
		}
		for _, l := range layer.Linears() {
			hit := false
			for j, target := range targets {
				ok, err := TargetMatches(b, target, l)
				if err != nil {
					return nil, err
				}
				used[j] = used[j] || ok
				hit = hit || ok
			}
			if hit {
				chosen = append(chosen, l.Module)
			}
		}
	}
	for _, l := range b.Model.Ends() {
		if j := slices.Index(targets, LastPart(l.Module)); j >= 0 {
			used[j] = true
			chosen = append(chosen, l.Module)
		}
	}
	for j, ok := range used {
		if !ok {
			return nil, fmt.Errorf("target %q matches no linear map of %s; there are %s, attention, ffn, %s%s",
				targets[j], b.Path, strings.Join(moduleKinds(b), ", "), AllLinear, TiedNote(b))
		}
	}
	return chosen, nil
}

// ChooseModules is SelectTargets with layers as ParseLayers reads them; where there are no targets, fallback counts.
func ChooseModules(b *Base, targets []string, layers string, fallback ...string) ([]string, error) {
	in, err := ParseLayers(layers, len(b.Model.Layers))
	if err != nil {
		return nil, err
	}
	if len(targets) == 0 {
		targets = fallback
	}
	return SelectTargets(b, targets, in)
}

// ChooseLinears is ChooseModules for methods on the linear maps of the layers alone: the embedding table and the output
// head are errors.
func ChooseLinears(b *Base, targets []string, layers string, fallback ...string) ([]string, error) {
	chosen, err := ChooseModules(b, targets, layers, fallback...)
	for _, module := range chosen {
		if slices.ContainsFunc(b.Model.Ends(), func(l *model.Linear) bool { return l.Module == module }) {
			return nil, fmt.Errorf("target %q: only a LoRA changes it; all else is for the linear maps of the layers",
				LastPart(module))
		}
	}
	return chosen, err
}

// TargetMatches reports whether one target chooses a linear map.
func TargetMatches(b *Base, target string, l *model.Linear) (bool, error) {
	if expr, ok := strings.CutPrefix(target, "re:"); ok {
		m := Modules{Regex: expr}
		return slices.ContainsFunc(l.Names(), m.Match), m.Check()
	}
	switch target {
	case AllLinear:
		return true, nil
	case "attention":
		return l.Role.In(model.Attention), nil
	case "ffn":
		return l.Role.In(model.FFN), nil
	}
	if strings.ContainsAny(target, "*?[") {
		// path.Match keeps * within a slash; names have dots only, so * crosses them.
		for _, name := range l.Names() {
			if ok, err := path.Match(target, name); ok || err != nil {
				if err != nil {
					return false, fmt.Errorf("target %q: %w", target, err)
				}
				return true, nil
			}
		}
		return false, nil
	}
	named := func(name string) bool { return nameMatches(target, name) }
	return slices.ContainsFunc(l.Names(), named) || slices.ContainsFunc(b.Model.GGUFTensors(l), func(name string) bool {
		return HasSuffix(strings.TrimSuffix(name, ".weight"), target)
	}), nil
}

// nameMatches reports whether a target that is a name, a glob or a regular expression chooses a module's name.
func nameMatches(target, name string) bool {
	if expr, ok := strings.CutPrefix(target, "re:"); ok {
		return Modules{Regex: expr}.Match(name)
	}
	if strings.ContainsAny(target, "*?[") {
		ok, err := path.Match(target, name)
		return ok && err == nil
	}
	return HasSuffix(name, target) || HasSuffix(name+weightSuffix, target)
}

// LastPart is what follows the last dot.
func LastPart(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }

// moduleKinds are the last parts of the names of all linear maps, each once.
func moduleKinds(b *Base) []string {
	var kinds []string
	for _, l := range b.Model.Matrices() {
		if kind := LastPart(l.Module); !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// DescribeTargets says in PEFT's terms which modules were chosen: short names and layers where these choose the same,
// whole names otherwise.
func DescribeTargets(b *Base, chosen []string) (Modules, []int) {
	in := set(chosen)
	kinds, layers := map[string]bool{}, []int(nil)
	for i, layer := range b.Model.Layers {
		some := false
		for _, l := range layer.Linears() {
			if in[l.Module] {
				some, kinds[LastPart(l.Module)] = true, true
			}
		}
		if some {
			layers = append(layers, i)
		}
	}
	for _, i := range layers {
		for _, l := range b.Model.Layers[i].Linears() {
			if kinds[LastPart(l.Module)] && !in[l.Module] {
				return Modules{Names: slices.Sorted(slices.Values(chosen))}, nil
			}
		}
	}
	for _, l := range b.Model.Ends() {
		if in[l.Module] {
			kinds[LastPart(l.Module)] = true
		}
	}
	if len(layers) == len(b.Model.Layers) {
		layers = nil
	}
	return Modules{Names: slices.Sorted(maps.Keys(kinds))}, layers
}

// set is a set of names.
func set(names []string) map[string]bool {
	in := make(map[string]bool, len(names))
	for _, name := range names {
		in[name] = true
	}
	return in
}
