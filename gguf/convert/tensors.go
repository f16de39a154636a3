package convert

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/quant"
	"github.com/peftconv/peftconv/safetensors"
)

const (
	weightSuffix = ".weight"
	blocksSuffix = "_blocks"
	scalesSuffix = "_scales"
)

// use is what a tensor of Hugging Face files is for.
type use struct {
	tensor *arch.Tensor
	layer  int // -1 for one of no layer
	part   int // number of the expert or head, -1 where it is all of them
	bias   bool
	fused  bool // the tensor has the rows of others too
}

// gather finds the tensors of the GGUF file.
type gather struct {
	model  *arch.Model
	spec   *arch.Spec
	file   *safetensors.File
	scales map[string]*blockScale // of tensors that are multiplied by some
	drafts int                    // layers behind those that run
	tokens int                    // of the vocabulary; 0: not known
	tied   bool                   // config.json says that the head is the embedding

	uses    map[string][]use
	outputs []*output
	names   map[string]string   // where each output comes from
	parts   map[part][]*source  // of stacks that are not complete
	stacks  map[int][]*pending  // of each layer
	taken   map[string]struct{} // tensors that belong to others
}

// part is a tensor of the table in a layer.
type part struct {
	tensor *arch.Tensor
	layer  int
}

// pending is a stack of experts that is complete.
type pending struct {
	use  use
	name string // of the first there
	out  *output
}

// run goes through all tensors, in the order of the reference converter.
func (g *gather) run() error {
	g.uses, g.names = map[string][]use{}, map[string]string{}
	g.parts, g.stacks = map[part][]*source{}, map[int][]*pending{}
	g.enumerate()
	if err := g.made(); err != nil {
		return err
	}
	tensors := sorted(g.file)
	for _, t := range tensors {
		if err := g.blocks(t); err != nil {
			return err
		}
	}
	for _, t := range tensors {
		if err := g.tensor(t); err != nil {
			return err
		}
	}
	return g.complete()
}

// sorted are the tensors file after file, those of a file by name.
func sorted(f *safetensors.File) []*safetensors.Tensor {
	tensors := slices.Clone(f.Tensors)
	slices.SortFunc(tensors, func(a, b *safetensors.Tensor) int {
		return cmp.Or(strings.Compare(a.Shard(), b.Shard()), strings.Compare(a.Name, b.Name))
	})
	return tensors
}

// enumerate notes what the tensor of each name is for.
func (g *gather) enumerate() {
	a := g.model.Arch
	for i := range a.Tensors {
		t := &a.Tensors[i]
		if !t.PerLayer() {
			g.note(t, -1)
			continue
		}
		for layer := range g.spec.Layers + g.drafts {
			if t.Role.Needed(g.spec, g.spec.At(layer)) {
				g.note(t, layer)
			}
		}
	}
}

// note notes the names of a tensor of the table.
func (g *gather) note(t *arch.Tensor, layer int) {
	add := func(name string, u use) {
		if name == "" {
			return
		}
		u.tensor, u.layer = t, layer
		g.uses[name] = append(g.uses[name], u)
		if t.Bias {
			u.bias = true
			for _, bias := range []string{arch.BiasName(name), name + "_bias"} {
				if strings.HasSuffix(name, weightSuffix) == (bias == arch.BiasName(name)) {
					g.uses[bias] = append(g.uses[bias], u)
				}
			}
		}
	}
	switch {
	case t.EachExpert():
		for e := range g.spec.At(layer).Experts.Count {
			add(t.ExpertInHF(layer, e), use{part: e})
		}
	case t.EachHead():
		for h := range t.Shape[0].Of(g.spec, layer) {
			add(t.HeadInHF(layer, h), use{part: h})
		}
	default:
		add(t.InHF(layer), use{part: -1})
		add(t.AlsoInHF(layer), use{part: -1})
	}
	add(t.Within.In(true, layer), use{part: -1, fused: true})
}

// name is the name in the table of a tensor of the files: that of most classes, without what names of a model with
// other parts begin with.
func (g *gather) name(name string) string {
	name = g.model.HF.Unrenamed(name)
	for _, other := range []string{"transformer." + name, "model." + name} {
		if _, ok := g.uses[name]; !ok && g.uses[other] != nil {
			return other
		}
	}
	return name
}

// made adds the tensors that come from config.json.
func (g *gather) made() error {
	for _, t := range []struct {
		role arch.Role
		of   func(r *arch.Rope) []float32
	}{
		{arch.RopeFactors, func(r *arch.Rope) []float32 { return r.Factors }},
		{arch.RopeLongFactors, func(r *arch.Rope) []float32 { return r.Long }},
		{arch.RopeShortFactors, func(r *arch.Rope) []float32 { return r.Short }},
	} {
		in := g.model.Arch.Tensor(t.role)
		if in == nil {
			continue
		}
		for i := range g.spec.Layers {
			if factors := t.of(&g.spec.At(i).Rope); len(factors) > 0 {
				out := &output{Tensor: gguf.Tensor{Name: in.GGUF, Shape: []int64{int64(len(factors))}}, floats: factors}
				if err := g.emit(out, "config.json"); err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

// emit adds an output.
func (g *gather) emit(out *output, from string) error {
	if other, twice := g.names[out.Name]; twice {
		return fmt.Errorf("tensor %q: becomes %q, as %q does", from, out.Name, other)
	}
	g.names[out.Name] = from
	g.outputs = append(g.outputs, out)
	return nil
}

// tensor adds what becomes of a tensor of the files.
func (g *gather) tensor(t *safetensors.Tensor) error {
	if _, ok := g.taken[t.Name]; ok || g.model.Arch.LeavesOut(t.Name) {
		return nil
	}
	name := g.name(t.Name)
	uses := g.uses[name]
	if uses == nil {
		inHF, inGGUF := g.model.Arch.Drafted(name, g.spec.Layers)
		if (inHF != "" || inGGUF != "") && g.model.Arch.Conversion.DropsDrafts {
			return nil
		}
		if inGGUF != "" {
			return g.draft(t, inGGUF)
		}
		uses = g.uses[inHF]
	}
	if uses == nil {
		return fmt.Errorf("tensor %q has no place in a GGUF file of architecture %q", t.Name, g.model.Arch.Name)
	}
	for _, u := range uses {
		if err := g.place(t, u); err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
	}
	return nil
}

// draft adds a tensor that only a layer that guesses further tokens has.
func (g *gather) draft(t *safetensors.Tensor, name string) error {
	u := use{tensor: &arch.Tensor{}, layer: -1, part: -1}
	if _, raised := g.model.Arch.Tensor(arch.OutputNorm).Transform.(arch.AddOne); raised && len(t.Shape) == 1 {
		u.tensor.Transform = arch.AddOne{}
	}
	out := g.plain(t, u, t.Shape)
	out.Name = name
	return g.emit(out, t.Name)
}

// place adds an output of a tensor, or keeps the tensor until others of its stack are there.
func (g *gather) place(t *safetensors.Tensor, u use) error {
	c := &g.model.Arch.Conversion
	switch role := u.tensor.Role; {
	case role == arch.OutputHead && (c.DropsHead || c.DropsTiedHead && g.tied):
		return nil
	case c.ZeroBiases && u.bias:
		return g.zero(t)
	case role == arch.KeyValueUp:
		return g.latent(t, u)
	case u.part >= 0:
		return g.stack(t, u)
	case u.fused && c.KeepsFused:
		return g.keepFused(t, u)
	case u.fused && u.bias:
		return g.fusedBias(t, u)
	case u.fused:
		return g.fused(t, u)
	}
	out := g.plain(t, u, g.shape(t, u))
	if g.names[out.Name] == t.Name {
		return nil // the same for two roles
	}
	return g.emit(out, t.Name)
}

// gguf is the name of an output.
func (u *use) gguf() string {
	name := u.tensor.InGGUF(u.layer)
	if u.bias {
		return arch.BiasName(name)
	}
	return name
}

// shape is the shape of an output, rows first: that of the table where it fits, without dimensions of 1 that it does
// not have, or else that of the tensor.
func (g *gather) shape(t *safetensors.Tensor, u use) []int64 {
	if u.bias {
		return t.Shape
	}
	sizes, n := u.tensor.Sizes(g.spec, u.layer), int64(1)
	for _, d := range sizes {
		n *= d
	}
	if n == t.Elements() {
		return sizes
	}
	return t.Shape
}

// reversed is a shape, rows first, in GGUF's order.
func reversed(shape []int64) []int64 {
	out := slices.Clone(shape)
	slices.Reverse(out)
	return out
}

// plain is the output of one tensor.
func (g *gather) plain(t *safetensors.Tensor, u use, shape []int64) *output {
	src := g.source(t)
	out := &output{}
	transform := u.tensor.Transform
	if _, ok := transform.(arch.Transpose); ok && len(shape) == 2 && !u.bias {
		rows, cols := t.Shape[1], t.Shape[0]
		out.Shape, out.rows = []int64{cols, rows}, rows
		out.views = []view{{source: src, rowStride: 1, colStride: rows}}
	} else {
		out.Shape = reversed(shape)
		if len(out.Shape) == 0 {
			out.Shape = []int64{1}
		}
		cols := out.Shape[0]
		v := view{source: src, rowStride: cols, colStride: 1}
		if u.layer < g.spec.Layers {
			v.order, v.columns = u.tensor.Rows(g.spec, u.layer), u.tensor.Columns(g.spec, u.layer)
		}
		if len(out.Shape) == 1 && v.order != nil { // each value is a row
			v.rowStride, v.colStride, v.columns = 0, 1, v.order
			v.order = nil
		}
		if v.order != nil && out.Tensor.Elements()/cols != int64(len(v.order)) {
			out.Shape[1] = int64(len(v.order)) // picked rows
		}
		out.rows = out.Tensor.Elements() / max(cols, 1)
		out.views = []view{v}
	}
	if u.tensor.GGUF != "" {
		out.Name = u.gguf()
	}
	switch {
	case u.bias:
	case u.tensor.Role == arch.RecurrentDecay:
		out.change = func(x []float32) {
			for i := range x {
				x[i] = -floats.Exp(x[i])
			}
		}
	default:
		if _, ok := transform.(arch.AddOne); ok {
			out.change = func(x []float32) {
				for i := range x {
					x[i]++
				}
			}
		}
	}
	if g.model.Arch.Conversion.CutsVocab && g.tokens > 0 && len(out.Shape) == 2 && out.Shape[1] > int64(g.tokens) &&
		(u.tensor.Role == arch.TokenEmbedding || u.tensor.Role == arch.OutputHead) {
		out.Shape[1] = int64(g.tokens)
	}
	return out
}

// source is a tensor as float32.
func (g *gather) source(t *safetensors.Tensor) *source {
	return &source{tensor: t, scale: g.scales[t.Name]}
}

// stack keeps the tensor of an expert or head until all are there.
func (g *gather) stack(t *safetensors.Tensor, u use) error {
	key := part{u.tensor, u.layer}
	count := u.tensor.Shape[0].Of(g.spec, u.layer)
	if g.parts[key] == nil {
		g.parts[key] = make([]*source, count)
	}
	all := g.parts[key]
	all[u.part] = g.source(t)
	if slices.Contains(all, nil) {
		return nil
	}
	delete(g.parts, key)
	out := &output{}
	one := t.Shape
	for _, src := range all {
		if !slices.Equal(src.tensor.Shape, one) {
			return fmt.Errorf("has the shape %v, but %q %v", one, src.tensor.Name, src.tensor.Shape)
		}
		cols := one[len(one)-1]
		out.views = append(out.views, view{source: src, rowStride: cols, colStride: 1})
	}
	out.Name = u.gguf()
	out.Shape = append(reversed(one), int64(count))
	out.rows = max(1, all[0].tensor.Elements()/one[len(one)-1])
	if u.tensor.Role.Kind() != arch.Experts {
		return g.emit(out, t.Name)
	}
	g.stacks[u.layer] = append(g.stacks[u.layer], &pending{u, all[0].tensor.Name, out})
	if len(g.stacks[u.layer]) < g.stacked(u.layer) {
		return nil
	}
	stacks := g.stacks[u.layer]
	slices.SortFunc(stacks, func(a, b *pending) int { return strings.Compare(a.name, b.name) })
	delete(g.stacks, u.layer)
	for _, s := range stacks {
		if err := g.emit(s.out, s.name); err != nil {
			return err
		}
	}
	return nil
}

// stacked is how many maps of experts of a layer are stacks.
func (g *gather) stacked(layer int) int {
	n := 0
	for i := range g.model.Arch.Tensors {
		if t := &g.model.Arch.Tensors[i]; t.EachExpert() {
			n++
		}
	}
	return n
}

// complete says whether parts of a stack are missing.
func (g *gather) complete() error {
	for key, parts := range g.parts {
		missing := slices.Index(parts, nil)
		name := key.tensor.ExpertInHF(key.layer, missing)
		if key.tensor.EachHead() {
			name = key.tensor.HeadInHF(key.layer, missing)
		}
		return fmt.Errorf("tensor %q is missing", g.model.HF.Rename(name))
	}
	for layer, stacks := range g.stacks {
		return fmt.Errorf("tensor %q: other maps of the experts of layer %d are missing", stacks[0].name, layer)
	}
	return g.missing()
}

// missing says whether a tensor that a model must have is not there.
func (g *gather) missing() error {
	a := g.model.Arch
	for i := range a.Tensors {
		t := &a.Tensors[i]
		if t.Optional || t.Role == arch.OutputHead || t.HF == "" && t.Within == nil || t.Role.Kind() == arch.Vector {
			continue
		}
		layers := 1
		if t.PerLayer() {
			layers = g.spec.Layers
		}
		for layer := range layers {
			_, has := g.names[t.InGGUF(layer)]
			_, fused := g.names[t.Within.In(false, layer)]
			if !has && !fused && t.Role.Needed(g.spec, g.spec.At(layer)) {
				return fmt.Errorf("tensor %q is missing", g.model.HF.Rename(t.Module(layer)+weightSuffix))
			}
		}
	}
	return nil
}

// fused adds the rows of one tensor of a matrix, or of the matrices of all experts, that holds those of several.
func (g *gather) fused(t *safetensors.Tensor, u use) error {
	if by, ok := u.tensor.Transform.(arch.PackExperts); ok {
		return g.packed(t, u, by)
	}
	before, _ := u.tensor.Within.Rows(g.spec, u.layer)
	shape := u.tensor.Sizes(g.spec, u.layer)
	cols, rows := shape[len(shape)-1], shape[len(shape)-2]
	count := int64(1)
	if len(shape) == 3 {
		count = shape[0]
	}
	if t.Elements()%(count*cols) != 0 || t.Elements()/(count*cols) < int64(before)+rows {
		return fmt.Errorf("has the shape %v, expected %d rows of %d columns from row %d on, of each of %d", t.Shape, rows,
			cols, before, count)
	}
	all := t.Elements() / (count * cols)
	out := &output{rows: rows}
	out.Name, out.Shape = u.gguf(), reversed(shape)
	for e := range count {
		out.views = append(out.views, view{source: g.source(t), first: (e*all + int64(before)) * cols, rowStride: cols,
			colStride: 1})
	}
	return g.emit(out, t.Name)
}

// fusedBias adds the biases of one of the maps of all experts that alternate in a parameter.
func (g *gather) fusedBias(t *safetensors.Tensor, u use) error {
	by, ok := u.tensor.Transform.(arch.PackExperts)
	if !ok || len(t.Shape) != 2 {
		return fmt.Errorf("has the shape %v, and biases of fused maps are %w", t.Shape, arch.ErrUnsupported)
	}
	every := int64(by.Every)
	n := t.Shape[1] / every
	out := &output{rows: 1}
	out.Name, out.Shape = u.gguf(), []int64{n, t.Shape[0]}
	for e := range t.Shape[0] {
		out.views = append(out.views, view{source: g.source(t), first: e*t.Shape[1] + int64(by.First), rowStride: n,
			colStride: every})
	}
	return g.emit(out, t.Name)
}

// keepFused adds a tensor that holds the rows of several as it is, once.
func (g *gather) keepFused(t *safetensors.Tensor, u use) error {
	name := u.tensor.Within.In(false, u.layer)
	if name == "" {
		return g.fused(t, u)
	}
	if g.names[name] == t.Name {
		return nil
	}
	out := g.plain(t, use{tensor: &arch.Tensor{}, layer: u.layer, part: -1}, t.Shape)
	out.Name = name
	return g.emit(out, t.Name)
}

// packed adds experts whose parameter has the order (experts, in, out).
func (g *gather) packed(t *safetensors.Tensor, u use, by arch.PackExperts) error {
	if len(t.Shape) != 3 {
		return fmt.Errorf("has the shape %v, expected (experts, in, out)", t.Shape)
	}
	count, in, all := t.Shape[0], t.Shape[1], t.Shape[2]
	every := int64(by.Every)
	out := &output{rows: all / every}
	out.Name, out.Shape = u.gguf(), []int64{in, out.rows, count}
	for e := range count {
		out.views = append(out.views, view{source: g.source(t), first: e*in*all + int64(by.First), rowStride: every,
			colStride: all})
	}
	return g.emit(out, t.Name)
}

// blocks adds the experts of a tensor of codes of MXFP4, whose scales are another tensor.
func (g *gather) blocks(t *safetensors.Tensor) error {
	base, ok := strings.CutSuffix(t.Name, blocksSuffix)
	if !ok {
		return nil
	}
	scales := g.file.Tensor(base + scalesSuffix)
	uses := g.uses[g.name(base)]
	if uses == nil {
		return nil
	}
	if scales == nil {
		return fmt.Errorf("tensor %q is missing, the scales of %q", base+scalesSuffix, t.Name)
	}
	if len(t.Shape) != 4 || t.Shape[3] != quant.MXCodes || !slices.Equal(scales.Shape, t.Shape[:3]) ||
		t.DType != safetensors.U8 || scales.DType != safetensors.U8 {
		return fmt.Errorf("tensor %q is %s %v with scales %s %v, expected bytes (experts, out, blocks, %d)", t.Name, t.DType,
			t.Shape, scales.DType, scales.Shape, quant.MXCodes)
	}
	g.taken[t.Name], g.taken[scales.Name] = struct{}{}, struct{}{}
	for _, u := range uses {
		by, ok := u.tensor.Transform.(arch.PackExperts)
		if u.bias || !ok {
			continue
		}
		rows := t.Shape[1] / int64(by.Every)
		out := &output{blocks: &packedBlocks{codes: t.Bytes(), scales: scales.Bytes(), rowsOut: rows, rowsIn: t.Shape[1],
			first: int64(by.First), every: int64(by.Every), width: t.Shape[2]}}
		out.Name, out.Type, out.Shape = u.gguf(), gguf.MXFP4, []int64{t.Shape[2] * quant.MXNumbers, rows, t.Shape[0]}
		if err := g.emit(out, t.Name); err != nil {
			return err
		}
	}
	return nil
}

// latent adds the maps from latent keys and values of each head, of which those of keys are transposed.
func (g *gather) latent(t *safetensors.Tensor, u use) error {
	l := &g.spec.At(u.layer).Latent
	heads, nope, value, rank := int64(g.spec.At(u.layer).QueryHeads), int64(l.Nope), int64(l.Value), int64(l.Rank)
	if !slices.Equal(t.Shape, []int64{heads * (nope + value), rank}) {
		return fmt.Errorf("has the shape %v, expected %v", t.Shape, []int64{heads * (nope + value), rank})
	}
	keys, values := &output{rows: rank}, &output{rows: value}
	keys.Name = g.model.Arch.Tensor(arch.KeyUp).InGGUF(u.layer)
	values.Name = g.model.Arch.Tensor(arch.ValueUp).InGGUF(u.layer)
	keys.Shape, values.Shape = []int64{nope, rank, heads}, []int64{rank, value, heads}
	for h := range heads {
		at := h * (nope + value) * rank
		src := g.source(t)
		keys.views = append(keys.views, view{source: src, first: at, rowStride: 1, colStride: rank})
		values.views = append(values.views, view{source: src, first: at + nope*rank, rowStride: rank, colStride: 1})
	}
	if err := g.emit(keys, t.Name); err != nil {
		return err
	}
	return g.emit(values, t.Name)
}

// zero refuses biases that are not 0.
func (g *gather) zero(t *safetensors.Tensor) error {
	x, err := t.Float32s()
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(x, func(v float32) bool { return v != 0 }); i >= 0 {
		return fmt.Errorf("value %d is %g, and a bias other than 0 is %w", i, x[i], arch.ErrUnsupported)
	}
	return nil
}
