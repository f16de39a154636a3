package model

import (
	"fmt"
	"slices"

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

// needed are the tensors of a layer that the decoder does not compute without.
var needed = []arch.Role{
	arch.AttentionNorm, arch.Query, arch.Key, arch.Value, arch.AttentionOutput,
	arch.FFNNorm, arch.Gate, arch.Up, arch.Down,
}

// loader makes a model of the tensors of a source and keeps the first error.
type loader struct {
	source source
	arch   *arch.Arch
	hf     bool // names are Hugging Face's
	spec   *arch.Spec
	used   map[string]bool
	err    error
}

func (l *loader) fail(format string, args ...any) {
	if l.err == nil {
		l.err = fmt.Errorf(format, args...)
	}
}

// load finds all weights of a Spec.
func (l *loader) load(s arch.Spec) *Model {
	m := &Model{Spec: s, Arch: l.arch}
	l.spec = &m.Spec
	if t := l.arch.Tensor(arch.RopeFactors); t != nil && l.has(t, noLayer) {
		factors := l.floats(t, noLayer)
		m.Spec.EditRope(func(r *arch.Rope) { r.Factors = factors })
	}
	if err := m.Spec.Check(); err != nil {
		l.fail("%w", err)
		return nil
	}
	embed := l.linear(l.arch.Tensor(arch.TokenEmbedding), noLayer)
	m.Embed, m.Head, m.ends = embed.W, embed.W, []*Linear{embed}
	m.Norm = l.norm(l.arch.Tensor(arch.OutputNorm), noLayer)
	if t := l.arch.Tensor(arch.OutputHead); t == nil {
		m.Spec.Tied = true
	} else if !m.Spec.Tied {
		head := l.linear(t, noLayer)
		m.Head, m.ends = head.W, append(m.ends, head)
	}
	for i := 0; i < m.Spec.Layers && l.err == nil; i++ {
		m.Layers = append(m.Layers, l.layer(m, i))
	}
	return m
}

// layer finds the tensors of layer i.
func (l *loader) layer(m *Model, i int) *Layer {
	layer := &Layer{Index: i, Spec: m.Spec.At(i), rope: m.ropeOf(i)}
	for j := range l.arch.Tensors {
		t := &l.arch.Tensors[j]
		if !t.PerLayer() || t.Optional && !l.has(t, i) {
			continue
		}
		switch t.Role.Kind() {
		case arch.Linear:
			layer.setLinear(l.linear(t, i))
		case arch.Norm:
			layer.setNorm(l.norm(t, i))
		}
	}
	for _, r := range needed {
		if layer.Linear(r) == nil && layer.Norm(r) == nil {
			l.fail("architecture %q without a %s is %w", l.arch.Name, r, ErrUnsupported)
		}
	}
	return layer
}

// name is what the source has for a tensor.
func (l *loader) name(t *arch.Tensor, layer int) string {
	if l.hf {
		return t.InHF(layer)
	}
	return t.InGGUF(layer)
}

// has reports whether the source has a tensor.
func (l *loader) has(t *arch.Tensor, layer int) bool {
	_, ok := l.source.Tensor(l.name(t, layer))
	return ok
}

// linear is a matrix, with the bias beside it where there may be one and is.
func (l *loader) linear(t *arch.Tensor, layer int) *Linear {
	shape, name := t.Sizes(l.spec, layer), l.name(t, layer)
	m := &Linear{
		Role: t.Role, Layer: layer, Module: t.Module(layer), Tensor: name,
		W: l.matrix(name, int(shape[0]), int(shape[1]), shape),
	}
	if !l.hf {
		m.PermutedHeads = t.PermutedHeads(l.spec, layer)
	}
	bias := arch.BiasName(name)
	if _, ok := l.source.Tensor(bias); ok && t.Bias {
		m.Bias = l.values(bias, shape[:1])
	}
	return m
}

// norm is a norm's weight.
func (l *loader) norm(t *arch.Tensor, layer int) *Norm {
	x := l.floats(t, layer)
	w := autograd.NewConst(1, len(x), x)
	return &Norm{Role: t.Role, Layer: layer, Module: t.Module(layer), Tensor: l.name(t, layer), W: w}
}

// floats are the numbers of a tensor of one dimension.
func (l *loader) floats(t *arch.Tensor, layer int) []float32 {
	return l.values(l.name(t, layer), t.Sizes(l.spec, layer))
}

// values are the numbers of the tensor of that name, which must be (n), as float32.
func (l *loader) values(name string, shape []int64) []float32 {
	m := l.matrix(name, 1, int(shape[0]), shape)
	if l.err != nil {
		return nil
	}
	x := make([]float32, m.Cols)
	m.Row(x, 0)
	return x
}

// matrix is the tensor of that name and shape, as (rows, cols).
func (l *loader) matrix(name string, rows, cols int, shape []int64) quant.Matrix {
	l.used[name] = true
	t, ok := l.source.Tensor(name)
	switch {
	case !ok:
		l.fail("tensor %q is missing", name)
	case !slices.Equal(t.Shape, shape):
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
