package model

import (
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/quant"
)

// experts are the linear maps of all experts of a layer: rows of one tensor, or of one each.
func (l *loader) experts(t *arch.Tensor, layer int) []*Linear {
	shape := t.Sizes(l.spec, layer)
	count, rows, cols := int(shape[0]), int(shape[1]), int(shape[2])
	maps := make([]*Linear, count)
	for e := range maps {
		maps[e] = &Linear{Role: t.Role, Layer: layer, Expert: e, Module: l.hf.Rename(t.ExpertModule(layer, e))}
	}
	if l.hf != nil && t.EachExpert() {
		for e, m := range maps {
			m.Tensor = l.inHF(t.ExpertInHF(layer, e))
			m.W = l.matrix(m.Tensor, rows, cols, shape[1:])
		}
		return maps
	}
	if by, ok := t.Transform.(arch.PackExperts); ok && l.hf != nil {
		l.packed(t, layer, by, maps)
		return maps
	}
	name, before, all := l.name(t, layer), 0, rows
	if _, ok := l.source.Tensor(name); !ok || l.hf != nil && t.Within != nil && t.Within.HF != "" {
		fused := l.fused(t, layer)
		if _, ok := l.source.Tensor(fused); ok || name == "" {
			name = fused
			before, all = t.Within.Rows(l.spec, layer)
		}
	}
	whole := l.matrix(name, count*all, cols, []int64{int64(count), int64(all), int64(cols)})
	bias := l.expertBias(t, name, count, all)
	for e, m := range maps {
		m.Tensor, m.Part, m.FirstRow = name, true, e*all+before
		if l.err != nil {
			continue
		}
		if m.W = (quant.Matrix{Type: whole.Type, Rows: rows, Cols: cols}); !l.empty {
			m.W = whole.Slice(m.FirstRow, m.FirstRow+rows)
		}
		if bias != nil {
			m.setBias(bias[m.FirstRow:m.FirstRow+rows], name, m.FirstRow)
		}
	}
	return maps
}

// expertBias is the biases of all experts, one after the other, nil where there are none.
func (l *loader) expertBias(t *arch.Tensor, weight string, count, rows int) []float32 {
	name := arch.BiasName(weight)
	if _, ok := l.source.Tensor(name); !ok || !t.Bias {
		return nil
	}
	return l.values(name, []int64{int64(count), int64(rows)})
}

// heads are the matrices that make keys and values of latent ones, all heads in one.
func (l *loader) heads(layer *Layer, t *arch.Tensor, i int) {
	shape := t.Sizes(l.spec, i)
	count, rows, cols := int(shape[0]), int(shape[1]), int(shape[2])
	w := l.matrix(l.name(t, i), count*rows, cols, shape)
	switch {
	case l.err != nil || l.empty:
	case t.Role == arch.ValueUp:
		layer.valueUp = w
	default: // (latent, n) of each head, of which the product with latent keys needs rows for columns
		x, y := Dequantized(&w), make([]float32, count*rows*cols)
		for h := range count {
			for r := range rows {
				for c := range cols {
					y[(h*cols+c)*rows+r] = x[(h*rows+r)*cols+c]
				}
			}
		}
		layer.keyUp = FloatMatrix(count*cols, rows, y)
	}
}
