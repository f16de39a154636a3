package algebra

import (
	"context"
	"fmt"
	"math"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft"
)

// ModuleNorm is how much an adapter changes the weight W of a linear map, by Δ.
type ModuleNorm struct {
	Module string  `json:"module"`         // its Hugging Face name
	Change float64 `json:"change"`         // ‖Δ‖, the Frobenius norm
	Base   float64 `json:"base,omitempty"` // ‖W‖; 0 where the base is not known
}

// Norms are the changes of all weights that an adapter changes, over its base in the order of the model. The base is
// read once, as far as it is changed. Without a base (nil) they are found for plain LoRAs, by name. A method that
// changes no weights has none. Errors: an adapter that does not fit the base; without one, an adapter that is no plain
// LoRA.
func Norms(ctx context.Context, a *peft.Adapter, b *peft.Base) (_ []ModuleNorm, err error) {
	defer mapped.Guard(&err)()
	if b == nil {
		list, err := lowRanks(handle.Adapter(a))
		if err != nil {
			return nil, fmt.Errorf("norms without a base: %w", err)
		}
		norms := make([]ModuleNorm, len(list))
		for i, l := range list {
			norms[i] = ModuleNorm{Module: l.Module, Change: math.Sqrt(max(0, l.Inner(&l)))}
		}
		return norms, nil
	}
	return normsOver(ctx, handle.Adapter(a), handle.Base(b))
}

// normsOver are the norms over a base.
func normsOver(ctx context.Context, a *attach.Adapter, b *attach.Base) ([]ModuleNorm, error) {
	bound, err := a.Bind(b)
	if err != nil {
		return nil, fmt.Errorf("norms: %w", err)
	}
	changes := bound.Changes()
	var norms []ModuleNorm
	for _, l := range b.Model.Matrices() {
		c, ok := changes[l]
		if !ok {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		squares, norm := sumsOf(l, &c)
		norms = append(norms, ModuleNorm{Module: l.Module, Change: math.Sqrt(squares), Base: math.Sqrt(norm)})
	}
	return norms, nil
}

// sumsOf are the sums of the squares of a change and of the weight, which do not depend on the number of threads.
func sumsOf(l *model.Linear, c *attach.Change) (squares, norm float64) {
	rows, cols := l.W.Rows, l.W.Cols
	factored := c.Factors != nil
	if factored {
		a, b, rank := c.Factors()
		pair := lowrank.LowRank{A: a, B: b, Rank: rank, In: cols, Out: rows, Scale: 1}
		squares = max(0, pair.Inner(&pair))
	}
	const piece = 16 // rows a thread takes at a time
	sums := make([][2]float64, (rows+piece-1)/piece)
	kernels.Parallel(len(sums), func(i int) {
		r0, r1 := i*piece, min(rows, (i+1)*piece)
		values := make([]float32, (r1-r0)*cols)
		if !factored {
			c.AddRows(values, r0, r1)
			sums[i][0] = lowrank.SumSquares(values, cols)
		}
		l.W.Tile(values, cols, r0, r1, 0, cols)
		sums[i][1] = lowrank.SumSquares(values, cols)
	})
	mapped.Release(l.W.Data)
	for _, s := range sums {
		squares, norm = squares+s[0], norm+s[1]
	}
	return squares, norm
}
