package attach

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/model"
)

// JointModules puts the modules that joint maps are parts of in place of these among the modules of a base that targets
// chose. A joint module of which not all parts were chosen is an error. Parameters of all experts are put there where a
// target names one of a layer's; otherwise each expert stays a map of its own.
func JointModules(b *Base, chosen, targets []string) (modules []string, joints []*model.Joint, err error) {
	in := set(chosen)
	named := map[string]bool{} // modules of experts
	for _, l := range b.Model.Matrices() {
		if l.Joint != nil && l.Joint.Parameter && in[l.Module] && namesJoint(targets, l) {
			named[parent(l.Joint.Module)] = true
		}
	}
	seen := map[*model.Joint]bool{}
	for _, l := range b.Model.Matrices() {
		switch {
		case !in[l.Module] || seen[l.Joint]:
			continue
		case l.Joint == nil || l.Joint.Parameter && !named[parent(l.Joint.Module)]:
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

// namesJoint reports whether a target is the name of a joint module and not of its part.
func namesJoint(targets []string, l *model.Linear) bool {
	return slices.ContainsFunc(targets, func(target string) bool {
		return nameMatches(target, l.Joint.Module) && !nameMatches(target, l.Module)
	})
}

// DescribeJoints adds joint modules to what DescribeTargets says of the others.
func (c *Config) DescribeJoints(b *Base, modules []string, joints []*model.Joint) {
	single := slices.DeleteFunc(slices.Clone(modules), func(name string) bool {
		return slices.ContainsFunc(joints, func(j *model.Joint) bool { return j.Module == name })
	})
	c.Targets, c.Layers = DescribeTargets(b, single)
	c.FanInOut = slices.ContainsFunc(b.Model.Linears(), func(l *model.Linear) bool {
		_, turned := b.Model.Arch.Tensor(l.Role).Transform.(arch.Transpose)
		return turned && slices.Contains(single, l.Module)
	})
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
		switch {
		case j.Parameter:
			c.Parameters, c.InputsInA = appendNew(c.Parameters, name), true
		case j.Experts > 0:
			c.Parameters = appendNew(c.Parameters, name+weightSuffix)
		default:
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

// CheckJoint reports a pair of so many inputs and outputs, or so many for each of experts, that does not fit a joint
// module of a base, and one on a parameter of experts that has, or may have, the two the other way round.
func (c *Config) CheckJoint(b *Base, j *model.Joint, in, out, experts int) error {
	const turned = "inputs and outputs the other way round, as PEFT before 0.19.1 writes them"
	unsure := j.Parameter && !c.InputsInA && j.Experts == experts && j.Rows == in && j.Cols == out
	switch {
	case unsure && in == out:
		return fmt.Errorf("adapter: %s has as many inputs as outputs, %d, and without the pairs of the other parameter of "+
			"the experts it cannot be told whether the file has %s", j.Module, in, turned)
	case unsure:
		return fmt.Errorf("adapter: the pairs of %s have %s, and without those of the other parameter of the experts they "+
			"are not read: save the adapter with a newer one", j.Module, turned)
	case j.Rows != out || j.Cols != in || j.Experts != experts:
		return errkind.Errorf(ErrWrongBase, "adapter: %s is made for %d matrices %d×%d, but in %s it is %d, %d×%d: an "+
			"adapter of another base?", j.Module, experts, out, in, b.Path, j.Experts, j.Rows, j.Cols)
	}
	return nil
}

// lastParts are the last two parts of a joint module's name, by which PEFT's configuration names it.
func lastParts(j *model.Joint) string {
	parts := strings.Split(j.Module, ".")
	return strings.Join(parts[max(0, len(parts)-2):], ".")
}

// Parameters of all experts of a layer belong to one module. PEFT wraps that module once for each of them, the last one
// outermost, and its keys name the wrappers alone:
//
//	….experts.lora_A.weight              the last of the parameters in target_parameters
//	….experts.base_layer.lora_A.weight   the one before it
//
// Here the tensors are called by the parameters: ….experts.down_proj.lora_A.weight. Both names are read.

const (
	expertsPart  = "experts"     // last part of the name of such a module
	wrapped      = ".base_layer" // stands after the name of a module for each wrapper around it
	gateUpPart   = "gate_up_proj"
	downPart     = "down_proj"
	weightSuffix = ".weight"
)

// expertParameters are the parameters of such a module in the order in which the classes define them.
var expertParameters = []string{gateUpPart, downPart}

// parent is what stands before the last dot.
func parent(name string) string { return name[:max(0, strings.LastIndexByte(name, '.'))] }

// bareParameter reports whether target_parameters has a parameter of experts that is the weight of no module.
func (c *Config) bareParameter(name string) bool {
	return LastPart(parent(name)) == expertsPart && slices.Contains(expertParameters, LastPart(name)) &&
		slices.ContainsFunc(c.Parameters, func(target string) bool { return HasSuffix(name, target) })
}

// IsParameter reports whether target_parameters has the weight of a module, or a parameter of all experts.
func (c *Config) IsParameter(module string) bool {
	return c.bareParameter(module) ||
		slices.ContainsFunc(c.Parameters, func(name string) bool { return HasSuffix(module+weightSuffix, name) })
}

// key is what patterns of ranks and scales match: the module's name, or that of the parameter.
func (c *Config) key(module string) string {
	if !c.bareParameter(module) && c.IsParameter(module) {
		return module + weightSuffix
	}
	return module
}

// targeted are the parameters of a module of experts that target_parameters has, in their order.
func (c *Config) targeted(experts string) (names []string) {
	for _, part := range expertParameters {
		if name := experts + "." + part; c.bareParameter(name) {
			names = append(names, name)
		}
	}
	return names
}

// fileName is the name that PEFT's files have for a tensor. pairs are the modules that have one, around which PEFT puts
// a wrapper: their biases are in it.
func (c *Config) fileName(tensor string, pairs map[string]bool) string {
	module, isBias := strings.CutSuffix(tensor, "."+BiasPart)
	if isBias && pairs[strings.TrimPrefix(module, ParamPrefix)] {
		return module + wrapped + "." + BiasPart
	}
	module, which, ok := ParseLoRAName(tensor)
	if !ok || !c.bareParameter(module) {
		return tensor
	}
	names := c.targeted(parent(module))
	wrappers := len(names) - 1 - slices.Index(names, module)
	return LoRAName(parent(module)+strings.Repeat(wrapped, wrappers), which)
}

// tensorName is the inverse of fileName. A wrapper without a parameter is an error.
func (c *Config) tensorName(inFile string) (string, error) {
	if module, ok := strings.CutSuffix(inFile, wrapped+"."+BiasPart); ok {
		return module + "." + BiasPart, nil
	}
	module, which, ok := ParseLoRAName(inFile)
	wrappers := 0
	for strings.HasSuffix(module, wrapped) {
		module = strings.TrimSuffix(module, wrapped)
		wrappers++
	}
	names := c.targeted(module)
	if !ok || len(names) == 0 {
		return inFile, nil
	}
	if wrappers >= len(names) {
		return "", fmt.Errorf("tensor %q is of parameter %d of a module of which target_parameters has %d", inFile,
			wrappers+1, len(names))
	}
	return LoRAName(names[len(names)-1-wrappers], which), nil
}

// FileParams are the tensors by the names that PEFT's files have for them, over the same memory.
func (a *Adapter) FileParams() []Param {
	named, pairs := slices.Clone(a.Tensors), map[string]bool{}
	for _, p := range named {
		if module, _, ok := ParseLoRAName(p.Name); ok {
			pairs[module] = true
		}
	}
	for i := range named {
		named[i].Name = a.Config.fileName(named[i].Name, pairs)
	}
	return named
}

// turned finds the parameters of which a file has inputs and outputs the other way round, A (experts·rank, out) and
// B (in, rank·experts), as PEFT before 0.19.1 writes them. What one parameter has does not tell, as a weight may have
// as many inputs as outputs; both of a module do: gate_up_proj has as many inputs as down_proj has outputs and twice as
// many outputs as that has inputs.
func (c *Config) turned(shapes map[string][]int) (names []string) {
	sizes := func(name string) (in, out int) {
		a, b := shapes[LoRAName(name, "A")], shapes[LoRAName(name, "B")]
		if len(a) != 2 || len(b) != 2 || a[0] != b[1] || a[0]%c.RankOf(name) != 0 {
			return 0, 0
		}
		return a[1], b[0]
	}
	for _, tensor := range slices.Sorted(maps.Keys(shapes)) {
		gateUp, which, _ := ParseLoRAName(tensor)
		down := parent(gateUp) + "." + downPart
		if which != "A" || LastPart(gateUp) != gateUpPart || !c.bareParameter(gateUp) || !c.bareParameter(down) {
			continue
		}
		in, out := sizes(gateUp)
		middle, width := sizes(down)
		switch {
		case in == 0 || middle == 0:
		case in == width && out == 2*middle:
			c.InputsInA = true
		case out == middle && in == 2*width:
			c.InputsInA = true
			names = append(names, gateUp, down)
		}
	}
	return names
}

// turn gives the pairs of parameters that are the other way round the form that InputsInA says: A and B of an expert
// become Bᵀ and Aᵀ.
func (a *Adapter) turn(names []string) {
	if len(names) == 0 {
		return
	}
	was, shapes := map[string]Param{}, map[string][]int{}
	for _, p := range a.Tensors {
		was[p.Name], shapes[p.Name] = p, p.Shape
	}
	for _, name := range names {
		nameA, nameB := LoRAName(name, "A"), LoRAName(name, "B")
		n := shapes[nameA][0]
		shapes[nameA], shapes[nameB] = []int{n, shapes[nameB][0]}, []int{shapes[nameA][1], n}
	}
	a.Allocate(shapes)
	for _, p := range a.Tensors {
		module, which, _ := ParseLoRAName(p.Name)
		if !slices.Contains(names, module) {
			copy(p.Data, was[p.Name].Data)
			continue
		}
		rank := a.Config.RankOf(module)
		if which == "A" { // from B (rows, rank·experts)
			from := was[LoRAName(module, "B")]
			experts := from.Cols() / rank
			for row := range p.Rows() {
				e, j := row/rank, row%rank
				for i := range p.Cols() {
					p.Data[row*p.Cols()+i] = from.Data[i*from.Cols()+j*experts+e]
				}
			}
			continue
		}
		from := was[LoRAName(module, "A")]
		experts := p.Cols() / rank
		for o := range p.Rows() {
			for row := range from.Rows() {
				e, j := row/rank, row%rank
				p.Data[o*p.Cols()+j*experts+e] = from.Data[row*from.Cols()+o]
			}
		}
	}
}
