package attach

import (
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/model"
)

// IsParameter reports whether target_parameters has the weight of a module.
func (c *Config) IsParameter(module string) bool {
	return slices.ContainsFunc(c.Parameters, func(name string) bool { return HasSuffix(module+weightSuffix, name) })
}

const weightSuffix = ".weight"

// key is what patterns of ranks and scales match: the module's name, or that of the parameter.
func (c *Config) key(module string) string {
	if c.IsParameter(module) {
		return module + weightSuffix
	}
	return module
}

// JointModules puts the modules that joint maps are parts of in place of these among the modules of a base that were
// chosen. A joint module of which not all parts were chosen is an error.
func JointModules(b *Base, chosen []string) (modules []string, joints []*model.Joint, err error) {
	in := set(chosen)
	seen := map[*model.Joint]bool{}
	for _, l := range b.Model.Matrices() {
		switch {
		case !in[l.Module] || seen[l.Joint]:
			continue
		case l.Joint == nil:
			modules = append(modules, l.Module)
			continue
		}
		seen[l.Joint] = true
		for _, part := range l.Joint.Parts {
			if !in[part.Module] {
				return nil, nil, fmt.Errorf("%s is chosen without %s, and Hugging Face's module %s has both: choose that",
					l.Module, part.Module, l.Joint.Module)
			}
		}
		modules, joints = append(modules, l.Joint.Module), append(joints, l.Joint)
	}
	return modules, joints, nil
}

// DescribeJoints adds joint modules to what DescribeTargets says of the others.
func (c *Config) DescribeJoints(b *Base, modules []string, joints []*model.Joint) {
	single := slices.DeleteFunc(slices.Clone(modules), func(name string) bool {
		return slices.ContainsFunc(joints, func(j *model.Joint) bool { return j.Module == name })
	})
	c.Targets, c.Layers = DescribeTargets(b, single)
	missing := map[string]int{} // joint modules of the base that were not chosen, by their last parts
	for _, l := range b.Model.Linears() {
		if l.Joint != nil && l.Joint.Parts[0] == l && !slices.Contains(joints, l.Joint) {
			missing[lastParts(l.Joint)]++
		}
	}
	some := func(j *model.Joint) bool { return missing[lastParts(j)] > 0 }
	short := c.Layers == nil && !slices.ContainsFunc(joints, some)
	if !short && len(joints) > 0 {
		c.Targets, c.Layers = Modules{Names: single}, nil
	}
	for _, j := range joints {
		name := j.Module
		if short {
			name = lastParts(j)
		}
		if j.Experts > 0 {
			c.Parameters = appendNew(c.Parameters, name+weightSuffix)
		} else {
			c.Targets.Names = appendNew(c.Targets.Names, name)
		}
	}
	slices.Sort(c.Targets.Names)
	slices.Sort(c.Parameters)
}

func appendNew(list []string, name string) []string {
	if slices.Contains(list, name) {
		return list
	}
	return append(list, name)
}

// lastParts are the last two parts of a joint module's name, by which PEFT's configuration names it.
func lastParts(j *model.Joint) string {
	parts := strings.Split(j.Module, ".")
	return strings.Join(parts[max(0, len(parts)-2):], ".")
}
