package generate

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/peftconv/peftconv/internal/prng"
)

// sampler chooses the next token: the likeliest, or one drawn from those that top-k and top-p leave, at a temperature.
type sampler struct {
	temperature float64
	topK        int
	topP        float64
	random      *prng.Random
	candidates  []candidate
}

// candidate is a token that may be drawn.
type candidate struct {
	id    int32
	logit float32
	p     float64
}

func newSampler(opt Options) sampler {
	return sampler{temperature: opt.Temperature, topK: opt.TopK, topP: opt.TopP,
		random: prng.NewRandom(opt.Seed, "sample")}
}

// next chooses by the logits of all tokens. Of equally likely ones it takes the one with the smallest id.
func (s *sampler) next(logits []float32) (int32, error) {
	best := 0
	for i, v := range logits {
		if v-v != 0 && !math.IsInf(float64(v), -1) {
			return 0, fmt.Errorf("the logit of token %d is %v: are all weights finite?", i, v)
		}
		if v > logits[best] {
			best = i
		}
	}
	if s.temperature <= 0 {
		return int32(best), nil
	}
	return s.draw(s.cut(logits)), nil
}

// cut is the candidates that top-k and top-p leave, likeliest first.
func (s *sampler) cut(logits []float32) []candidate {
	all := s.candidates[:0]
	for i, v := range logits {
		all = append(all, candidate{id: int32(i), logit: v})
	}
	s.candidates = all
	slices.SortFunc(all, func(a, b candidate) int {
		if c := cmp.Compare(b.logit, a.logit); c != 0 {
			return c
		}
		return cmp.Compare(a.id, b.id)
	})
	if s.topK > 0 && s.topK < len(all) {
		all = all[:s.topK]
	}
	if s.topP <= 0 || s.topP >= 1 {
		return all
	}
	total, sum := weigh(all, 1), 0.0
	for i, c := range all {
		if sum += c.p; sum >= s.topP*total {
			return all[:i+1]
		}
	}
	return all
}

// weigh sets each candidate's p to its unnormalised probability at a temperature and returns their sum.
func weigh(all []candidate, temperature float64) (total float64) {
	for i := range all {
		all[i].p = math.Exp(float64(all[i].logit-all[0].logit) / temperature)
		total += all[i].p
	}
	return total
}

// draw takes one candidate by chance.
func (s *sampler) draw(all []candidate) int32 {
	left := s.random.Float() * weigh(all, s.temperature)
	for _, c := range all {
		if left -= c.p; left < 0 {
			return c.id
		}
	}
	return all[0].id
}
