package export

import (
	"fmt"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/linalg"
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
)

// A GGUF LoRA has no place for a matrix that was trained whole. Its change is a pair all the same: the change itself
// and an identity, of the model's width; of rows of tokens it is these and a 1 for each.

// savedPairs are the changes of the embedding table and the output head that a LoRA has beside its pairs. They are
// changes of the base's own weights, which must be there.
func savedPairs(a *attach.Adapter, m *methods.LoRA, b *attach.Base) ([]methods.LinearPair, error) {
	if !m.Extras.Whole() {
		return nil, nil
	}
	if b.Store == nil {
		return nil, fmt.Errorf("the adapter has whole matrices%s, whose change cannot be told without the base's weights: "+
			"name a base with them", m.Extras.Describe())
	}
	bound, err := a.Bind(b)
	if err != nil {
		return nil, err
	}
	paired := map[string]bool{}
	for _, p := range m.Modules {
		paired[b.Canonical(p.Name)] = true
	}
	var pairs []methods.LinearPair
	changes := bound.Changes()
	for _, l := range b.Model.Ends() {
		c, changed := changes[l]
		switch {
		case !changed:
		case l.Role == arch.TokenEmbedding && m.Extras.Tokens() != nil:
			if paired[b.Canonical(l.Module)] {
				return nil, fmt.Errorf("%s has a pair and trained rows of tokens, of which a GGUF LoRA holds one; merge it",
					l.Module)
			}
			pairs = append(pairs, methods.LinearPair{Linear: l, LowRank: rowsOfTokens(l, &c, m.Extras.Tokens())})
		case !paired[b.Canonical(l.Module)]:
			pairs = append(pairs, methods.LinearPair{Linear: l, LowRank: ofWhole(l, &c)})
		}
	}
	return pairs, nil
}

// rowsOfTokens is the pair of the changes of single rows of the embedding table.
func rowsOfTokens(l *model.Linear, c *attach.Change, ids []int32) lowrank.LowRank {
	n, width := len(ids), l.W.Cols
	p := lowrank.LowRank{Module: l.Module, Rank: n, In: l.W.Rows, Out: width, Scale: 1}
	rows := make([]float32, n*width)
	p.A = make([]float32, n*l.W.Rows)
	for i, id := range ids {
		c.AddRows(rows[i*width:(i+1)*width], int(id), int(id)+1)
		p.A[i*l.W.Rows+int(id)] = 1
	}
	p.B = linalg.Transpose(rows, n, width)
	return p
}

// ofWhole is the pair of the change of a whole matrix. That of the embedding table is the pair of its transposed.
func ofWhole(l *model.Linear, c *attach.Change) lowrank.LowRank {
	change, width := dense(l, c), l.W.Cols
	p := lowrank.LowRank{Module: l.Module, Rank: width, Scale: 1}
	if l.Role == arch.TokenEmbedding {
		p.In, p.Out, p.A, p.B = l.W.Rows, width, linalg.Transpose(change, l.W.Rows, width), identity(width)
		return p
	}
	p.In, p.Out, p.A, p.B = width, l.W.Rows, identity(width), change
	return p
}
