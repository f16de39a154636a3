package model

import (
	"fmt"
	"slices"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/quant"
)

// stored is a tensor as a file has it.
type stored struct {
	shape    []int64 // rows first
	kind     gguf.Type
	typeName string // as the file names it
	data     []byte
}

// source is a file or a set of files with tensors.
type source interface {
	tensor(name string) (stored, bool)
}

// names are what a kind of file calls the tensors of a decoder.
type names struct {
	embed, norm, head string
	block             string // prefix of a layer's tensors, with its number
	attnNorm, ffnNorm string
	linears           [7]string // in the order of Layer.Linears, without ".weight"
}

// loader makes a model of the tensors of a source and keeps the first error.
type loader struct {
	source source
	names  names
	used   map[string]bool
	err    error
}

func (l *loader) fail(format string, args ...any) {
	if l.err == nil {
		l.err = fmt.Errorf(format, args...)
	}
}

// load finds all weights of a Spec; permuted says that the rows of q and k are permuted for interleaved RoPE.
func (l *loader) load(s Spec, permuted bool) *Model {
	if err := s.check(); err != nil {
		l.fail("%w", err)
		return nil
	}
	m := &Model{Spec: s}
	m.Embed = l.matrix(l.names.embed, s.Vocab, s.Width)
	m.Norm = l.norm("model.norm", l.names.norm, s.Width)
	m.Head = m.Embed
	if !s.Tied {
		m.Head = l.matrix(l.names.head, s.Vocab, s.Width)
	}
	m.ends = []*Linear{{Module: EmbedModule, Tensor: l.names.embed, W: m.Embed}}
	if !s.Tied {
		m.ends = append(m.ends, &Linear{Module: HeadModule, Tensor: l.names.head, W: m.Head})
	}
	for i := 0; i < s.Layers && l.err == nil; i++ {
		m.Layers = append(m.Layers, l.layer(&s, i, permuted))
	}
	m.finish()
	return m
}

// layer finds the tensors of block i.
func (l *loader) layer(s *Spec, i int, permuted bool) *Layer {
	prefix := fmt.Sprintf(l.names.block, i)
	query, key := s.QueryHeads*s.HeadDim, s.KeyHeads*s.HeadDim
	shapes := [7][2]int{{query, s.Width}, {key, s.Width}, {key, s.Width}, {s.Width, query},
		{s.FFN, s.Width}, {s.FFN, s.Width}, {s.Width, s.FFN}}
	var maps [7]*Linear
	for j, name := range l.names.linears {
		maps[j] = &Linear{
			Module: modulePath(i, moduleNames[j]),
			Tensor: prefix + name + ".weight",
			W:      l.matrix(prefix+name+".weight", shapes[j][0], shapes[j][1]),
		}
		if _, ok := l.source.tensor(prefix + name + ".bias"); ok {
			maps[j].Bias = l.floats(prefix+name+".bias", shapes[j][0])
		}
	}
	if permuted {
		maps[0].PermutedHeads, maps[1].PermutedHeads = s.QueryHeads, s.KeyHeads
	}
	return &Layer{
		Index:    i,
		AttnNorm: l.norm(modulePath(i, "input_layernorm"), prefix+l.names.attnNorm, s.Width),
		FFNNorm:  l.norm(modulePath(i, "post_attention_layernorm"), prefix+l.names.ffnNorm, s.Width),
		Q:        maps[0], K: maps[1], V: maps[2], O: maps[3], Gate: maps[4], Up: maps[5], Down: maps[6],
	}
}

// matrix is the tensor of that name, which must be (rows, cols).
func (l *loader) matrix(name string, rows, cols int) quant.Matrix {
	return l.shaped(name, rows, cols, []int64{int64(rows), int64(cols)})
}

// shaped is the tensor of that name and shape as (rows, cols).
func (l *loader) shaped(name string, rows, cols int, shape []int64) quant.Matrix {
	l.used[name] = true
	t, ok := l.source.tensor(name)
	switch {
	case !ok:
		l.fail("tensor %q is missing", name)
	case !slices.Equal(t.shape, shape):
		l.fail("tensor %q has shape %v (rows first), expected %v", name, t.shape, shape)
	case !quant.Supported(t.kind):
		l.fail("tensor %q has type %s, computing with which is %w", name, t.typeName, ErrUnsupported)
	default:
		m, err := quant.NewMatrix(t.kind, rows, cols, t.data)
		if err != nil {
			l.fail("tensor %q: %w", name, err)
		}
		return m
	}
	return quant.Matrix{}
}

// floats is the one-dimensional tensor of that name, n values, as float32.
func (l *loader) floats(name string, n int) []float32 {
	m := l.shaped(name, 1, n, []int64{int64(n)})
	if l.err != nil {
		return nil
	}
	x := make([]float32, n)
	m.Row(x, 0)
	return x
}

// norm is the norm whose weight has that name.
func (l *loader) norm(module, name string, n int) *Norm {
	x := l.floats(name, n)
	if l.err != nil {
		return nil
	}
	return &Norm{Module: module, Tensor: name, W: autograd.NewConst(1, n, x)}
}
