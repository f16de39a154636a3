// Package logprobs holds how likely a model found every token at each place of a text, as llama-perplexity keeps it
// (--kl-divergence-base): logarithms of probabilities in 16 bits. It compares what two models found.
package logprobs

import (
	"math"

	"github.com/peftconv/peftconv/internal/freelist"
	"github.com/peftconv/peftconv/kernels"
)

// lowest is the logarithm below which a probability counts as 0: both where rows are made and where they are compared.
const lowest = -16

// Row is the log probabilities of all V tokens at one place: Min + Scale·code.
type Row struct {
	Scale, Min float32
	Codes      []uint16 // (V)
}

// Set makes the row of logits (V), which it overwrites. Codes span the logits from the largest to 16 below it, or to
// the smallest. It gives the logarithm of the sum of exp(logit).
func (r *Row) Set(logits []float32) float32 {
	top, bottom := kernels.Max(logits), float32(math.Inf(1))
	for _, v := range logits {
		bottom = min(bottom, v)
	}
	bottom = max(bottom, top+lowest)
	if cap(r.Codes) < len(logits) {
		r.Codes = make([]uint16, len(logits))
	}
	r.Codes = r.Codes[:len(logits)]
	if r.Scale = (top - bottom) / 65535; r.Scale != 0 {
		inverse := 1 / r.Scale
		for i, v := range logits {
			r.Codes[i] = uint16(math.RoundToEven(float64(inverse * max(v-bottom, 0))))
		}
	} else {
		clear(r.Codes)
	}
	sum := logSum(logits, top)
	r.Min = bottom - top - sum
	return top + sum
}

// logSum is the logarithm of the sum of exp(logit - top); the logits become the terms.
func logSum(logits []float32, top float32) float32 {
	return float32(math.Log(float64(kernels.ExpSum(logits, top))))
}

// Decode gives the log probabilities.
func (r *Row) Decode(dst []float32) {
	for i, code := range r.Codes {
		dst[i] = r.Scale*float32(code) + r.Min
	}
}

// Comparison is what two models found at one place of a text.
type Comparison struct {
	Divergence     float64 // KL(base ‖ other), over the tokens that the base gives at least exp(-16)
	Loss, BaseLoss float32 // -log of the probabilities of the token that follows
	SameTop        bool    // whether the likeliest token is the same
}

// Change is by how much the other gives the token that follows a higher probability than the base.
func (c *Comparison) Change() float32 {
	return float32(math.Exp(float64(-c.Loss))) - float32(math.Exp(float64(-c.BaseLoss)))
}

// scratch is memory of Compare.
type scratch struct{ base, terms []float32 }

var scratches freelist.List[scratch]

// Compare compares a row of the base with logits (V) of another model, where target follows.
func (r *Row) Compare(logits []float32, target int32) Comparison {
	s := scratches.Get()
	defer scratches.Put(s)
	if len(s.base) != len(logits) {
		s.base, s.terms = make([]float32, len(logits)), make([]float32, len(logits))
	}
	base, terms := s.base, s.terms
	copy(terms, logits)
	top := kernels.Max(logits)
	sum := logSum(terms, top)
	all := top + sum
	r.Decode(base)
	copy(terms, base)
	kernels.ExpSum(terms, 0)
	c := Comparison{Loss: all - logits[target], BaseLoss: -base[target]}
	likeliest := 0
	for i, p := range terms {
		if base[i] > base[likeliest] {
			likeliest = i
		}
		if base[i] > lowest {
			c.Divergence += float64(p * (base[i] - logits[i] + all))
		}
	}
	for i, l := range logits { // the first of several, as among those of the base
		if l == top {
			c.SameTop = i == likeliest
			break
		}
	}
	return c
}
