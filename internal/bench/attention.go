package bench

import (
	"context"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/kernels"
)

// Attention is the speed of attention over one sequence, of one layer of a shape.
type Attention struct {
	Shape     string  `json:"shape"`
	Precision string  `json:"precision"` // of the training step
	Rounded   string  `json:"rounded"`   // the precision that the operands are rounded to in it
	Direction string  `json:"direction"`
	Tokens    int     `json:"tokens"`
	GFLOPS    float64 `json:"gflops"` // of the products that are needed: two forward, four backward
	Percent   float64 `json:"percent_of_peak"`
	// at which queries, keys, values, results and gradients would be read or written, each once
	Bandwidth     float64 `json:"gb_s"`
	PercentMemory float64 `json:"percent_of_memory"`
}

// measureAttentions measures the attention of all shapes.
func (r *Report) measureAttentions(ctx context.Context, o *Options) error {
	for _, name := range o.Shapes {
		spec, err := find(name)
		if err != nil {
			return err
		}
		o.Progress("attention of " + name)
		for _, p := range o.Precisions {
			if err := ctx.Err(); err != nil {
				return err
			}
			r.Attention = append(r.Attention, measureAttention(name, &spec, p, o.Tokens)...)
		}
	}
	return nil
}

// measureAttention measures one layer, forward and backward.
func measureAttention(name string, spec *arch.Spec, p kernels.Precision, tokens int) []Attention {
	l := &spec.Layer
	s := kernels.AttentionShape{
		Bounds: []int32{0, int32(tokens)}, Queries: l.QueryHeads, Keys: l.KeyHeads, Dim: l.HeadDim, Scale: 0.125,
		Precision: p,
	}
	wide, narrow := tokens*s.Queries*s.Dim, tokens*s.Keys*s.Dim
	q, k, v, dy := normals(wide), normals(narrow), normals(narrow + 1)[:narrow], normals(wide + 1)[:wide]
	y, logSum := make([]float32, wide), make([]float32, tokens*s.Queries)
	dq, dk, dv := make([]float32, wide), make([]float32, narrow), make([]float32, narrow)
	run := func() { kernels.Attention(y, logSum, q, k, v, s) }
	back := func() { kernels.AttentionBackward(dq, dk, dv, dy, y, logSum, q, k, v, s) }
	product := 2 * float64(tokens) * float64(tokens+1) / 2 * float64(s.Queries*s.Dim)
	a := Attention{Shape: name, Precision: p.String(), Rounded: s.Rounded().String(), Tokens: tokens}
	rates := func(direction string, products float64, floats int, f func()) Attention {
		seconds := fastest(f).Seconds()
		a.Direction, a.GFLOPS, a.Bandwidth = direction, products*product/seconds/1e9, 4*float64(floats)/seconds/1e9
		return a
	}
	return []Attention{
		rates(forward, 2, 2*wide+2*narrow, run),       // q, y; k, v
		rates(backward, 4, 2*(2*wide+2*narrow), back), // and their gradients
	}
}
