package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/store"
	"github.com/peftconv/peftconv/quant"
)

// source is where tensors come from: a store.Store, or one that makes them up.
type source interface {
	Tensor(name string) (store.Tensor, bool)
}

// noLayer is the number of the layer of what is in none.
const noLayer = -1

// loader makes a model of the tensors of a source and keeps the first error.
type loader struct {
	source source
	arch   *arch.Arch
	hf     *arch.HFModel // names are Hugging Face's; nil: GGUF's
	spec   *arch.Spec
	used   map[string]bool
	empty  bool      // there are no weights: matrices have sizes and no data
	orders [][]int32 // of rows and columns so far
	err    error
}

func (l *loader) fail(format string, args ...any) {
	if l.err == nil {
		l.err = fmt.Errorf(format, args...)
	}
}

// load finds all weights of a Spec.
func (l *loader) load(s arch.Spec) *Model {
	m := &Model{Spec: s, Arch: l.arch, HF: l.hf}
	l.spec = &m.Spec
	l.ropeFactors(&m.Spec)
	if err := m.Spec.Check(); err != nil {
		l.fail("%w", err)
		return nil
	}
	embed := l.linear(l.arch.Tensor(arch.TokenEmbedding), noLayer)
	m.Embed, m.Head, m.ends = embed.W, embed.W, []*Linear{embed}
	if t := l.arch.Tensor(arch.OutputNorm); t != nil {
		m.Norm = l.norm(t, noLayer)
	} else {
		m.Norm = m.bareNorm(arch.OutputNorm, noLayer)
	}
	if t := l.arch.Tensor(arch.EmbeddingNorm); t != nil {
		m.embedNorm = l.norm(t, noLayer)
	}
	if t := l.arch.Tensor(arch.LayerEmbedding); t != nil && s.LayerEmbedding > 0 {
		m.second = &secondEmbedding{
			table: l.linear(t, noLayer).W, from: l.linear(l.arch.Tensor(arch.LayerEmbeddingMap), noLayer),
			norm: l.norm(l.arch.Tensor(arch.LayerEmbeddingNorm), noLayer),
		}
	}
	if t := l.arch.Tensor(arch.PositionEmbedding); t != nil {
		w := l.linear(t, noLayer).W
		m.positions = &w
	}
	if t := l.arch.Tensor(arch.OutputHead); t == nil {
		m.Spec.Tied = true
	} else if !m.Spec.Tied {
		head := l.linear(t, noLayer)
		m.Head, m.Bias, m.ends = head.W, head.Bias, append(m.ends, head)
	} else if l.hf != nil {
		l.used[l.name(t, noLayer)] = true
	}
	for i := 0; i < m.Spec.Layers && l.err == nil; i++ {
		m.Layers = append(m.Layers, l.layer(m, i))
	}
	return m
}

// ropeFactors finds the divisors of the angles that are tensors.
func (l *loader) ropeFactors(s *arch.Spec) {
	for role, set := range map[arch.Role]func(r *arch.Rope, factors []float32){
		arch.RopeFactors:      func(r *arch.Rope, factors []float32) { r.Factors = factors },
		arch.RopeLongFactors:  func(r *arch.Rope, factors []float32) { r.Long = factors },
		arch.RopeShortFactors: func(r *arch.Rope, factors []float32) { r.Short = factors },
	} {
		if t := l.arch.Tensor(role); t != nil && l.has(t, noLayer) {
			name := l.name(t, noLayer)
			tensor, _ := l.source.Tensor(name)
			factors := l.values(name, tensor.Shape)
			s.EditRope(func(r *arch.Rope) {
				if r.Dim > 0 && !r.Plain {
					set(r, factors)
				}
			})
		}
	}
}

// layer finds the tensors of layer i.
func (l *loader) layer(m *Model, i int) *Layer {
	layer := &Layer{Index: i, Spec: m.Spec.At(i)}
	for j := range l.arch.Tensors {
		t := &l.arch.Tensors[j]
		if !t.PerLayer() || !t.Role.Needed(l.spec, layer.Spec) || t.Optional && !l.has(t, i) {
			continue
		}
		switch t.Role.Kind() {
		case arch.Linear:
			layer.setLinear(l.linear(t, i))
		case arch.Experts:
			layer.setExperts(l.experts(t, i))
		case arch.Norm:
			layer.setNorm(l.norm(t, i))
		case arch.Vector:
			layer.vectors[t.Role] = l.floats(t, i)
		case arch.Heads:
			l.heads(layer, t, i)
		}
	}
	if l.spec.BareNorms {
		layer.norms[arch.AttentionNorm] = m.bareNorm(arch.AttentionNorm, i)
		layer.norms[arch.FFNNorm] = m.bareNorm(arch.FFNNorm, i)
	}
	if missing := layer.missing(); missing != nil {
		l.fail("architecture %q without a %s is %w", l.arch.Name, *missing, ErrUnsupported)
	}
	l.join(layer)
	layer.prepare(m)
	return layer
}

// name is what the source has for a tensor.
func (l *loader) name(t *arch.Tensor, layer int) string {
	if l.hf == nil {
		return t.InGGUF(layer)
	}
	name := l.inHF(t.InHF(layer))
	if t.EachHead() {
		name = l.inHF(t.HeadInHF(layer, 0))
	}
	if _, ok := l.source.Tensor(name); !ok && t.AlsoHF != "" {
		return l.inHF(t.AlsoInHF(layer))
	}
	return name
}

// inHF is the name in the source of a tensor that the architecture's table has under another in Hugging Face files.
func (l *loader) inHF(name string) string {
	name = l.hf.Rename(name)
	if t, ok := find(l.source, name); ok {
		return t.Name
	}
	return name
}

// headless is what names of tensors begin with in classes of which some files are those of the decoder without its
// head, where they begin with nothing.
const headless = "transformer."

// find finds a tensor, also in files of a decoder without its head.
func find(s source, name string) (t store.Tensor, ok bool) {
	if t, ok = s.Tensor(name); !ok && strings.HasPrefix(name, headless) {
		t, ok = s.Tensor(strings.TrimPrefix(name, headless))
	}
	return t, ok
}

// has reports whether the source has a tensor.
func (l *loader) has(t *arch.Tensor, layer int) bool {
	if _, ok := l.source.Tensor(l.name(t, layer)); ok {
		return true
	}
	_, ok := l.source.Tensor(l.fused(t, layer))
	return ok
}

// fused is what the source would have for a tensor with the rows of several, "" where there is none.
func (l *loader) fused(t *arch.Tensor, layer int) string {
	return l.inHF(t.Within.In(l.hf != nil, layer))
}

// linear is a matrix, with the bias beside it where there may be one and is.
func (l *loader) linear(t *arch.Tensor, layer int) *Linear {
	shape := t.Sizes(l.spec, layer)
	m := &Linear{Role: t.Role, Layer: layer, Module: l.hf.Rename(t.Module(layer))}
	if _, kept := t.Transform.(arch.PermuteHeads); (l.hf == nil || !kept) && t.Joint(layer) == "" {
		m.Rows, m.Cols = l.order(t.Rows(l.spec, layer)), l.order(t.Columns(l.spec, layer))
	}
	if l.within(m, t, layer, int(shape[0])) {
		return m
	}
	m.Tensor = l.name(t, layer)
	if _, ok := t.Transform.(arch.Transpose); ok && l.hf != nil {
		m.W = l.transposed(m.Tensor, int(shape[0]), int(shape[1]))
	} else if _, ok := t.Transform.(arch.PickQKVZ); ok && l.hf != nil {
		m.W = l.picked(m.Tensor, t.Rows(l.spec, layer), int(shape[1]))
		return m
	} else {
		m.W = l.matrix(m.Tensor, int(shape[0]), int(shape[1]), shape)
	}
	m.setBias(l.bias(t, m.Tensor, int(shape[0]), 0, int(shape[0])), m.Tensor, 0)
	if l.hf != nil && t.Transform != nil {
		l.fromHF(t, layer, m)
	}
	return m
}

// order is where each row of a Hugging Face weight is, of the row there of each row. Maps of one order share it.
func (l *loader) order(inHF []int32) []int32 {
	order := arch.Inverted(inHF)
	for _, o := range l.orders {
		if slices.Equal(o, order) {
			return o
		}
	}
	l.orders = append(l.orders, order)
	return order
}

// within makes a linear map of rows of a tensor that holds those of several, where the file has that one instead.
func (l *loader) within(m *Linear, t *arch.Tensor, layer, rows int) bool {
	name := l.fused(t, layer)
	if name == "" || l.err != nil {
		return false
	}
	if _, ok := l.source.Tensor(l.name(t, layer)); ok {
		return false
	}
	if _, ok := l.source.Tensor(name); !ok {
		return false
	}
	m.Tensor, m.Part = name, true
	before, all := t.Within.Rows(l.spec, layer)
	cols := int(t.Sizes(l.spec, layer)[1])
	whole := l.matrix(name, all, cols, []int64{int64(all), int64(cols)})
	if l.err == nil {
		m.FirstRow, m.W = before, whole.Slice(before, before+rows)
	}
	if m.setBias(l.bias(t, l.name(t, layer), rows, 0, rows), l.name(t, layer), 0); m.Bias == nil {
		m.setBias(l.bias(t, name, all, before, rows), name, before)
	}
	return true
}

// setBias gives a linear map its bias, nil or the values of the one beside a weight from a row on.
func (l *Linear) setBias(bias []float32, weight string, row int) {
	if l.Bias = bias; bias != nil {
		l.biasTensor, l.biasRow = arch.BiasName(weight), row
	}
}

// bias is n values, from number from on, of the bias of all values beside a weight; nil where there is none.
func (l *loader) bias(t *arch.Tensor, weight string, all, from, n int) []float32 {
	name := arch.BiasName(weight)
	if _, ok := l.source.Tensor(name); !ok || !t.Bias {
		return nil
	}
	if x := l.values(name, []int64{int64(all)}); l.err == nil {
		return x[from : from+n]
	}
	return nil
}

// norm is a norm's weight and, where it may have one, its bias.
func (l *loader) norm(t *arch.Tensor, layer int) *Norm {
	shape := t.Sizes(l.spec, layer)
	n := &Norm{Role: t.Role, Layer: layer, Module: l.hf.Rename(t.Module(layer)), Tensor: l.name(t, layer)}
	n.Group = int(shape[len(shape)-1])
	x := l.floats(t, layer)
	if _, n.Raised = t.Transform.(arch.AddOne); n.Raised && l.hf != nil {
		for i := range x {
			x[i]++
		}
	}
	n.W = autograd.NewConst(1, len(x), x)
	if b := l.bias(t, n.Tensor, len(x), 0, len(x)); b != nil && l.spec.LayerNorm {
		n.B = autograd.NewConst(1, len(b), b)
	}
	return n
}

// floats are the numbers of a tensor, row after row.
func (l *loader) floats(t *arch.Tensor, layer int) []float32 {
	if l.hf != nil && t.EachHead() {
		return l.eachHead(t, layer)
	}
	name, shape := l.name(t, layer), t.Sizes(l.spec, layer)
	if in, _ := l.source.Tensor(name); l.hf != nil && len(in.Shape) == 1 {
		shape = []int64{elements(shape)} // of all groups or heads in one row
	}
	x := l.values(name, shape)
	if l.hf != nil && l.err == nil && t.Role.Kind() == arch.Vector {
		x = l.vectorFromHF(t, layer, x)
	}
	return x
}

// values are the numbers of the tensor of that name and shape, row after row, as float32.
func (l *loader) values(name string, shape []int64) []float32 {
	n := int(elements(shape))
	m := l.matrix(name, 1, n, shape)
	if l.err != nil {
		return nil
	}
	x := make([]float32, n)
	if !l.empty {
		quant.Dequantize(m.Type, x, m.Data)
	}
	return x
}

// elements is how many values a tensor of that shape has.
func elements(shape []int64) int64 {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	return n
}

// matrix is the tensor of that name and shape, as (rows, cols).
func (l *loader) matrix(name string, rows, cols int, shape []int64) quant.Matrix {
	l.used[name] = true
	if l.empty {
		return quant.Matrix{Type: gguf.F32, Rows: rows, Cols: cols}
	}
	t, ok := l.source.Tensor(name)
	switch {
	case !ok:
		l.fail("tensor %q is missing", name)
	case !sameShape(t.Shape, shape):
		l.fail("tensor %q has shape %v (rows first), expected %v", name, t.Shape, shape)
	case !quant.Supported(t.Type):
		l.fail("tensor %q has type %s, computing with which is %w", name, t.TypeName, ErrUnsupported)
	default:
		m, err := quant.NewMatrix(t.Type, rows, cols, t.Data)
		if err != nil {
			l.fail("tensor %q: %w", name, err)
		}
		return m
	}
	return quant.Matrix{}
}

// sameShape reports whether two shapes are equal but for dimensions of 1: files differ in whether they have these.
func sameShape(a, b []int64) bool {
	if slices.Equal(a, b) {
		return true
	}
	if len(a) < 2 && len(b) < 2 {
		return false
	}
	ones := func(d int64) bool { return d == 1 }
	return slices.Equal(slices.DeleteFunc(slices.Clone(a), ones), slices.DeleteFunc(slices.Clone(b), ones))
}
