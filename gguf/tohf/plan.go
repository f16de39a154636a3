package tohf

import (
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/store"
	"github.com/peftconv/peftconv/quant"
	"github.com/peftconv/peftconv/safetensors"
)

// noLayer is the number of the layer of what is in none.
const noLayer = -1

// output is a tensor that is to be written.
type output struct {
	name   string
	shape  []int64
	values rows      // nil: raw
	raw    *packed   // bytes that are no numbers
	from   gguf.Type // of the tensor that it is made of
	to     gguf.Type
	dtype  safetensors.DType
}

// planner finds what tensors the class has and what each is made of.
type planner struct {
	file   *store.Store
	source *arch.Arch // of the file
	config *arch.Config
	spec   arch.Spec // with the draft layers
	blocks bool      // experts may stay blocks
	used   map[string]bool
	joints map[string]*joint
	order  []*joint
	out    []*output
	err    error

	ignored []string // tensors that nothing computes with
}

// joint is a tensor of the class that has the rows of several of the file's.
type joint struct {
	name    string
	parts   []*found
	places  [][]int32 // of each part: where its rows are, or those of each expert's part of it
	experts int       // 0: none
	packed  bool      // as arch.PackExperts says
}

func (p *planner) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

// plan lists the tensors of the class.
func (p *planner) plan() ([]*output, error) {
	s := &p.spec
	last := s.Layers - 1 // a draft layer is as the last one that attends
	for last > 0 && s.At(last).Mixer != arch.SelfAttention {
		last--
	}
	attends := *s.At(last)
	s.PerLayer(func(int, *arch.Layer) {})
	for range s.Drafts {
		s.Each = append(slices.Clone(s.Each), attends)
	}
	for i := range p.config.Arch.Tensors {
		if t := &p.config.Arch.Tensors[i]; !t.PerLayer() && t.Role.Needed(s, s.At(0)) {
			p.one(t, noLayer)
		}
	}
	for layer := range s.Layers + s.Drafts {
		if layer >= s.Layers && !p.hasLayer(layer) {
			continue
		}
		for i := range p.config.Arch.Tensors {
			if t := &p.config.Arch.Tensors[i]; t.PerLayer() && t.Role.Needed(s, s.At(layer)) {
				p.one(t, layer)
			}
		}
		p.join()
	}
	p.drafts()
	p.refuseUnused()
	return p.out, p.err
}

// hasLayer reports whether the file has tensors of a layer.
func (p *planner) hasLayer(layer int) bool {
	prefix := fmt.Sprintf("blk.%d.", layer)
	return slices.ContainsFunc(p.file.GGUF.Tensors, func(t *gguf.Tensor) bool { return strings.HasPrefix(t.Name, prefix) })
}

// refuseUnused refuses tensors that nothing was made of.
func (p *planner) refuseUnused() {
	for _, t := range p.file.GGUF.Tensors {
		switch {
		case p.used[t.Name]:
		case p.source.IsIgnored(t.Name):
			p.ignored = append(p.ignored, t.Name)
		default:
			p.fail("tensor %q has no place in %s: converting it is %w", t.Name, p.config.Class.Class, arch.ErrUnsupported)
		}
	}
}

// drafts adds the tensors that only draft layers have.
func (p *planner) drafts() {
	a, raised := p.config.Arch, false
	if norm := a.Tensor(arch.OutputNorm); norm != nil {
		_, raised = norm.Transform.(arch.AddOne)
	}
	for _, t := range p.file.GGUF.Tensors {
		name, ok := a.DraftInHF(t.Name, p.spec.Layers)
		if p.used[t.Name] || !p.spec.IsDraft(t.Name) || !ok {
			continue
		}
		shape := slices.Clone(t.Shape)
		slices.Reverse(shape)
		x := p.matrix(t.Name, shape)
		if x == nil {
			return
		}
		var values rows = stored{*x}
		if raised && len(shape) == 1 {
			values = calculated{values, lowered}
		}
		p.out = append(p.out, &output{name: name, shape: shape, values: values, from: t.Type})
	}
}

// inHF is the name that the class has for a name of the table.
func (p *planner) inHF(name string, layer int) string {
	if layer >= p.spec.Layers {
		name = p.config.Arch.InDraft(name, layer, p.spec.Layers)
	}
	return p.config.Class.Rename(name)
}

func (p *planner) add(name string, layer int, shape []int64, values rows, from gguf.Type) {
	p.out = append(p.out, &output{name: p.inHF(name, layer), shape: shape, values: values, from: from})
}

// one adds what the class has of a tensor of the table, to the outputs or to a joint one.
func (p *planner) one(t *arch.Tensor, layer int) {
	switch {
	case p.err != nil:
		return
	case t.Role == arch.RopeFactors, t.Role == arch.RopeLongFactors, t.Role == arch.RopeShortFactors: // in config.json
		p.used[t.GGUF] = true
		return
	case t.Role == arch.KeyUp, t.Role == arch.ValueUp:
		return // with KeyValueUp
	}
	x := p.find(t, layer)
	if x == nil && t.Role == arch.KeyValueUp {
		p.keyValueUp(t, layer)
		return
	}
	if x == nil {
		if !t.Optional && !(t.Role == arch.OutputHead && p.spec.Tied) {
			p.fail("tensor %q is missing", t.InGGUF(layer))
		}
		return
	}
	switch {
	case t.EachExpert():
		p.eachExpert(t, layer, x)
	case t.EachHead():
		for h := range int(x.shape[0]) {
			p.add(t.HeadInHF(layer, h), layer, x.shape[1:], cuts(x.rows, h, 1, int(x.shape[0])), x.from)
		}
	case t.Joint(layer) != "" && (t.HF == "" || isPicked(t)):
		p.part(t, layer, x)
	default:
		p.whole(t, layer, x)
	}
}

// isPicked reports whether a tensor has picked rows of one of Hugging Face's.
func isPicked(t *arch.Tensor) bool {
	_, picked := t.Transform.(arch.PickQKVZ)
	return picked
}

// found is what the file has for a tensor of the table: the rows of a matrix or, of experts, those of all of them.
type found struct {
	rows
	bias   rows // a column, nil: none
	shape  []int64
	from   gguf.Type
	stored *quant.Matrix // nil: they are not one matrix of the file
}

// find finds the tensor of a role in the file, where the table of the file's architecture has it: alone, or in one that
// has the rows of several; nil where there is none.
func (p *planner) find(t *arch.Tensor, layer int) *found {
	from := p.source.Tensor(t.Role)
	if from == nil {
		return nil
	}
	shape, name := from.Sizes(&p.spec, layer), from.InGGUF(layer)
	if _, ok := p.file.Tensor(name); ok {
		x := p.matrix(name, shape)
		if x == nil {
			return nil
		}
		return &found{stored{*x}, p.bias(from, name, shape), shape, x.Type, x}
	}
	within := from.Within.In(false, layer)
	if _, ok := p.file.Tensor(within); !ok {
		return nil
	}
	before, all := from.Within.Rows(&p.spec, layer)
	whole, at := slices.Clone(shape), len(shape)-2
	whole[at] = int64(all)
	x := p.matrix(within, whole)
	if x == nil {
		return nil
	}
	f := &found{rows: cuts(stored{*x}, before, int(shape[at]), all), shape: shape, from: x.Type}
	if f.bias = p.bias(from, name, shape); f.bias == nil {
		if b := p.bias(from, within, whole); b != nil {
			f.bias = cuts(b, before, int(shape[at]), all)
		}
	}
	return f
}

// matrix is a tensor of the file as a matrix, with leading dimensions as further rows and one of a single dimension as
// a column; nil after an error. The shape that is expected has rows first.
func (p *planner) matrix(name string, shape []int64) *quant.Matrix {
	t, ok := p.file.Tensor(name)
	p.used[name] = true
	elements := int64(1)
	for _, d := range shape {
		elements *= d
	}
	cols := int64(1)
	if len(shape) > 1 {
		cols = shape[len(shape)-1]
	}
	switch {
	case !ok:
		p.fail("tensor %q is missing", name)
	case !sameShape(t.Shape, shape):
		p.fail("tensor %q has shape %v (rows first), expected %v", name, t.Shape, shape)
	case !quant.Supported(t.Type):
		p.fail("tensor %q has type %s, converting which is %w", name, t.TypeName, arch.ErrUnsupported)
	default:
		m, err := quant.NewMatrix(t.Type, int(elements/max(cols, 1)), int(cols), t.Data)
		if err != nil {
			p.fail("tensor %q: %w", name, err)
			return nil
		}
		return &m
	}
	return nil
}

// sameShape reports whether two shapes are equal but for dimensions of 1.
func sameShape(a, b []int64) bool {
	ones := func(d int64) bool { return d == 1 }
	return slices.Equal(slices.DeleteFunc(slices.Clone(a), ones), slices.DeleteFunc(slices.Clone(b), ones))
}

// bias is the bias beside a weight, a column; nil where there is none.
func (p *planner) bias(t *arch.Tensor, weight string, shape []int64) rows {
	name := arch.BiasName(weight)
	if _, ok := p.file.Tensor(name); !ok || !t.Bias || t.Role.Kind() == arch.Norm && !p.spec.LayerNorm {
		return nil
	}
	if len(shape) > 1 {
		shape = shape[:len(shape)-1]
	}
	x := p.matrix(name, append(slices.Clone(shape), 1))
	if x == nil {
		return nil
	}
	return stored{*x}
}

// eachExpert adds a tensor for each expert.
func (p *planner) eachExpert(t *arch.Tensor, layer int, x *found) {
	n := int(x.shape[1])
	for e := range int(x.shape[0]) {
		p.add(t.ExpertInHF(layer, e), layer, x.shape[1:], cuts(x.rows, e*n, n, n*int(x.shape[0])), x.from)
	}
	if x.bias != nil {
		p.fail("tensor %q: %s has no biases of experts: it is %w", arch.BiasName(t.InGGUF(layer)), p.config.Class.Class,
			arch.ErrUnsupported)
	}
}

// whole adds a tensor that the class has alone, and its bias.
func (p *planner) whole(t *arch.Tensor, layer int, x *found) {
	s, name := &p.spec, t.InHF(layer)
	if t.AlsoHF != "" && p.other(layer) {
		name = t.AlsoInHF(layer)
	}
	values, bias, shape := x.rows, x.bias, t.Sizes(s, layer)
	if order := arch.Inverted(t.Rows(s, layer)); order != nil {
		if values = inOrder(values, order); bias != nil {
			bias = inOrder(bias, order)
		}
	}
	if order := arch.Inverted(t.Columns(s, layer)); order != nil {
		values = reordered{values, order}
	}
	switch t.Transform.(type) {
	case arch.AddOne:
		values = calculated{values, lowered}
	case arch.Transpose:
		values = turned{values, 1}
		shape = []int64{shape[1], shape[0]}
	}
	if t.Role == arch.RecurrentDecay {
		values = calculated{values, logarithms}
	}
	p.add(name, layer, shapeInHF(t, shape), values, x.from)
	if bias == nil && slices.Contains(p.config.Biased, t.Role) {
		bias = zeros{int(x.shape[0])}
	}
	if bias != nil {
		p.add(arch.BiasName(name), layer, x.shape[:1], bias, gguf.F32)
	}
}

// other reports whether the class has the norm before the feed-forward network under its other name: where attention
// has one too.
func (p *planner) other(layer int) bool {
	beside := p.source.Tensor(arch.AttentionNorm)
	_, ok := p.file.Tensor(beside.InGGUF(layer))
	return ok
}

// shapeInHF is the shape that Hugging Face files have for that of a tensor of the table.
func shapeInHF(t *arch.Tensor, shape []int64) []int64 {
	switch {
	case t.Role == arch.RecurrentConv, t.Role == arch.ConvKernel: // of one input channel each
		return []int64{shape[0], 1, shape[1]}
	case t.Role == arch.RecurrentNorm && len(shape) == 2:
		return []int64{shape[0] * shape[1]}
	case t.Role.Kind() == arch.Vector && len(shape) == 2 && shape[1] == 1:
		return shape[:1]
	}
	return shape
}

// keyValueUp adds the map from latent keys and values, of each head that of keys, then that of values.
func (p *planner) keyValueUp(t *arch.Tensor, layer int) {
	keys, values := p.find(p.source.Tensor(arch.KeyUp), layer), p.find(p.source.Tensor(arch.ValueUp), layer)
	if keys == nil || values == nil {
		p.fail("tensor %q is missing, or %q and %q in its place", t.InGGUF(layer),
			p.source.Tensor(arch.KeyUp).InGGUF(layer), p.source.Tensor(arch.ValueUp).InGGUF(layer))
		return
	}
	heads := int(keys.shape[0])
	of := func(x *found, head int) rows {
		n := int(x.shape[1])
		return cuts(x.rows, head*n, n, n*heads)
	}
	var parts []rows
	for h := range heads {
		parts = append(parts, turned{of(keys, h), 1}, of(values, h))
	}
	p.add(t.InHF(layer), layer, t.Sizes(&p.spec, layer), stack(parts), keys.from)
}

// part adds a tensor to the one of the class that has its rows.
func (p *planner) part(t *arch.Tensor, layer int, x *found) {
	name := p.inHF(t.Joint(layer), layer)
	j := p.joints[name]
	if j == nil {
		j = &joint{name: name}
		p.joints[name] = j
		p.order = append(p.order, j)
	}
	order := t.JointRows(&p.spec, layer)
	if t.Role.Kind() == arch.Experts {
		j.experts = p.spec.At(layer).Experts.Count
	}
	_, j.packed = t.Transform.(arch.PackExperts)
	j.parts, j.places = append(j.parts, x), append(j.places, order)
}

// join adds the joint tensors of a layer.
func (p *planner) join() {
	for _, j := range p.order {
		if p.err != nil {
			return
		}
		p.joint(j)
	}
	p.order, p.joints = nil, map[string]*joint{}
}

// joint adds a joint tensor, and that of its biases.
func (p *planner) joint(j *joint) {
	all, biased := 0, 0
	var parts, biases []rows
	for i, x := range j.parts {
		all += len(j.places[i])
		parts = append(parts, x.rows)
		if x.bias != nil {
			biased++
			biases = append(biases, x.bias)
		}
	}
	order := j.order(all)
	if order == nil {
		p.fail("some rows of %q are missing: the file has %d tensors for it", j.name, len(j.parts))
		return
	}
	cols := j.parts[0].shape[len(j.parts[0].shape)-1]
	values, shape, from := inOrder(stack(parts), order), []int64{int64(all), cols}, j.parts[0].from
	if j.experts > 0 {
		shape = []int64{int64(j.experts), int64(all), cols}
	}
	switch {
	case j.packed && p.blocks:
		p.pack(j, order, shape)
	case j.packed:
		shape[1], shape[2] = shape[2], shape[1]
		p.out = append(p.out, &output{name: j.name, shape: shape, values: turned{values, j.experts}, from: from})
	default:
		p.out = append(p.out, &output{name: j.name, shape: shape, values: values, from: from})
	}
	if biased == len(j.parts) {
		name := arch.BiasName(j.name)
		if j.packed {
			name = j.name + "_bias"
		}
		shape := []int64{int64(all)}
		if j.experts > 0 {
			shape = []int64{int64(j.experts), int64(all)}
		}
		p.out = append(p.out, &output{name: name, shape: shape, values: inOrder(stack(biases), order), from: gguf.F32})
	} else if biased > 0 {
		p.fail("some of the biases of %q are missing: the file has %d of %d", j.name, biased, len(j.parts))
	}
}

// order is the row, of the parts one below the other, of each row of the joint tensor; nil where some have none.
func (j *joint) order(all int) []int32 {
	count := max(j.experts, 1)
	order := make([]int32, count*all)
	first := 0
	for _, places := range j.places {
		for e := range count {
			for i, at := range places {
				if int(at) >= all {
					return nil
				}
				order[e*all+int(at)] = int32(first + e*len(places) + i)
			}
		}
		first += count * len(places)
	}
	for at, from := range order { // rows that nothing was set for are 0
		if from == 0 && at != int(j.places[0][0]) {
			return nil
		}
	}
	return order
}
