package pretrain

import (
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/demo/tale"
	"github.com/peftconv/peftconv/internal/tokenizer"
)

// reader returns the corpus, every document once. Most sequences are one document that ends with EOS; every ninth is
// a window of several documents with empty lines between them, as long as the context, so that the model meets all
// positions and knows running text too.
type reader struct {
	recipe    *Recipe
	tok       *tokenizer.Tokenizer
	documents uint64 // returned so far
	sequences uint64
	kept      []int32 // the next sequence, when it did not fit
}

// fill fills b with as many sequences as fit into the recipe's BatchTokens.
func (r *reader) fill(b *batch.Batch) {
	b.Reset()
	for {
		ids := r.kept
		if ids == nil {
			ids = r.next()
		}
		if b.Tokens()+len(ids) > r.recipe.BatchTokens && b.Tokens() > 0 {
			r.kept = ids
			return
		}
		r.kept = nil
		b.Append(ids, nil)
	}
}

func (r *reader) next() []int32 {
	bos, _ := r.tok.BOS()
	ids := []int32{bos}
	window := r.sequences%9 == 0
	r.sequences++
	text := r.document()
	ids = append(ids, r.tok.Encode(text, false)...)
	for window && len(ids) < r.recipe.Context {
		text += "\n\n" + r.document()
		ids = append(ids[:1], r.tok.Encode(text, false)...)
	}
	if len(ids) >= r.recipe.Context {
		return ids[:r.recipe.Context]
	}
	eos, _ := r.tok.EOS()
	return append(ids, eos)
}

func (r *reader) document() string {
	r.documents++
	return tale.Document(r.recipe.Seed, r.documents-1, false)
}
