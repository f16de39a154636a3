package model

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/quant"
)

// packed finds the weights and biases of experts that a parameter of a Hugging Face file holds as arch.PackExperts
// says. The weights are copied.
func (l *loader) packed(t *arch.Tensor, layer int, by arch.PackExperts, maps []*Linear) {
	shape := t.Sizes(l.spec, layer)
	count, rows, cols := int(shape[0]), int(shape[1]), int(shape[2])
	all := rows * by.Every
	name := l.fused(t, layer)
	if name == "" {
		name = l.name(t, layer)
	}
	var weights []quant.Matrix
	if _, ok := l.source.Tensor(name + "_blocks"); ok {
		weights = l.blocks(name, count, all, cols)
	} else {
		weights = l.turned(name, count, all, cols)
	}
	bias := l.values(name+"_bias", []int64{int64(count), int64(all)})
	if l.err != nil {
		return
	}
	order := make([]int32, rows)
	for r := range order {
		order[r] = int32(r*by.Every + by.First)
	}
	for e, m := range maps {
		m.Tensor, m.Part = name, true
		m.W = rowsInOrder(weights[e], order)
		m.Bias = rowsListed(bias[e*all:(e+1)*all], order, 1)
	}
}

// blocks are the weights of experts whose codes and scales are two tensors.
func (l *loader) blocks(name string, count, rows, cols int) []quant.Matrix {
	codes, scales := l.raw(name+"_blocks", count, rows, cols/quant.MXNumbers, quant.MXCodes),
		l.raw(name+"_scales", count, rows, cols/quant.MXNumbers)
	if cols%quant.MXNumbers != 0 {
		l.fail("tensor %q has rows of %d numbers, expected a multiple of %d", name, cols, quant.MXNumbers)
	}
	if l.err != nil {
		return nil
	}
	list := make([]quant.Matrix, count)
	per := rows * cols / quant.MXNumbers
	for e := range list {
		data := make([]byte, 0, per*(1+quant.MXCodes))
		data = quant.AppendMXFP4(data, scales[e*per:(e+1)*per], codes[e*per*quant.MXCodes:(e+1)*per*quant.MXCodes])
		m, err := quant.NewMatrix(gguf.MXFP4, rows, cols, data)
		if err != nil {
			l.fail("tensor %q: %w", name, err)
		}
		list[e] = m
	}
	return list
}

// raw is the bytes of a tensor of U8.
func (l *loader) raw(name string, shape ...int) []byte {
	l.used[name] = true
	want := make([]int64, len(shape))
	for i, d := range shape {
		want[i] = int64(d)
	}
	t, ok := l.source.Tensor(name)
	switch {
	case !ok:
		l.fail("tensor %q is missing", name)
	case t.TypeName != "U8":
		l.fail("tensor %q has type %s, expected U8", name, t.TypeName)
	case !sameShape(t.Shape, want):
		l.fail("tensor %q has shape %v (rows first), expected %v", name, t.Shape, want)
	}
	return t.Data
}

// turned are the weights of experts of a tensor of the shape (experts, in, out).
func (l *loader) turned(name string, count, rows, cols int) []quant.Matrix {
	whole := l.matrix(name, count*cols, rows, []int64{int64(count), int64(cols), int64(rows)})
	if l.err != nil {
		return nil
	}
	list := make([]quant.Matrix, count)
	for e := range list {
		w := whole.Slice(e*cols, (e+1)*cols)
		list[e] = FloatMatrix(rows, cols, transposedValues(Dequantized(&w), cols, rows))
	}
	return list
}
