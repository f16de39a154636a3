package attach

import (
	"fmt"
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
//	attn_q, blk.0.attn_q    the same in GGUF's names
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
				ok, err := TargetMatches(target, l)
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
		if IsEmbedding(module) || IsHead(module) {
			return nil, fmt.Errorf("target %q: only a LoRA changes it; all else is for the linear maps of the layers",
				LastPart(module))
		}
	}
	return chosen, err
}

// TargetMatches reports whether one target chooses a linear map.
func TargetMatches(target string, l *model.Linear) (bool, error) {
	if expr, ok := strings.CutPrefix(target, "re:"); ok {
		m := Modules{Regex: expr}
		return m.Match(l.Module), m.Check()
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
		ok, err := path.Match(target, l.Module)
		if err != nil {
			return false, fmt.Errorf("target %q: %w", target, err)
		}
		return ok, nil
	}
	return HasSuffix(l.Module, target) || HasSuffix(strings.TrimSuffix(l.Tensor, ".weight"), target), nil
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

// DescribeTargets says in PEFT's terms which modules were chosen: short names and layers where the choice is the same
// in every layer that has any, whole names otherwise.
func DescribeTargets(b *Base, chosen []string) (Modules, []int) {
	var kinds []string
	var layers []int
	for i, layer := range b.Model.Layers {
		var here []string
		for _, l := range layer.Linears() {
			if slices.Contains(chosen, l.Module) {
				here = append(here, LastPart(l.Module))
			}
		}
		if here == nil {
			continue
		}
		if layers != nil && !slices.Equal(here, kinds) {
			return Modules{Names: slices.Sorted(slices.Values(chosen))}, nil
		}
		kinds, layers = here, append(layers, i)
	}
	kinds = slices.Clone(kinds)
	for _, l := range b.Model.Ends() {
		if slices.Contains(chosen, l.Module) {
			kinds = append(kinds, LastPart(l.Module))
		}
	}
	slices.Sort(kinds)
	if len(layers) == len(b.Model.Layers) {
		layers = nil
	}
	return Modules{Names: kinds}, layers
}
