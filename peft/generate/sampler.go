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
	topP, minP  float64
	penalty     float64 // of tokens among the last few that were seen; 0 and 1: none
	last        int     // how many these are
	seen        []int32 // of prompt and answer
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
	return sampler{temperature: opt.Temperature, topK: opt.TopK, topP: opt.TopP, minP: opt.MinP,
		penalty: opt.RepeatPenalty, last: cmp.Or(opt.RepeatLast, 64), random: prng.NewRandom(opt.Seed, "sample")}
}

// penalize makes tokens less likely that were seen lately, as llama.cpp does: logits above 0 are divided by the
// penalty, others multiplied with it.
func (s *sampler) penalize(logits []float32) []float32 {
	if s.penalty == 0 || s.penalty == 1 {
		return logits
	}
	out := slices.Clone(logits)
	for _, id := range s.seen[max(0, len(s.seen)-s.last):] {
		if id < 0 || int(id) >= len(out) {
			continue // a virtual token
		}
		if v := logits[id]; v > 0 {
			out[id] = v / float32(s.penalty)
		} else {
			out[id] = v * float32(s.penalty)
		}
	}
	return out
}

// next chooses by the logits of all tokens. Of equally likely ones it takes the one with the smallest id.
func (s *sampler) next(logits []float32) (int32, error) {
	best := 0
	logits = s.penalize(logits)
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

// cut is the candidates that top-k, top-p and min-p leave, likeliest first.
func (s *sampler) cut(logits []float32) []candidate {
	all := s.candidates[:0]
	for i, v := range logits {
		c := candidate{id: int32(i), logit: v}
		switch {
		case s.topK <= 0 || i < s.topK:
			if all = append(all, c); len(all) == s.topK {
				slices.SortFunc(all, candidate.compare) // the least likely last
				slices.Reverse(all)                     // and now a heap with it on top
			}
		case v > all[0].logit:
			all[0] = c
			sink(all)
		}
	}
	s.candidates = all
	slices.SortFunc(all, candidate.compare)
	return s.cutMinP(s.cutTopP(all))
}

// compare is the order of candidates: the likelier first, of equally likely ones the one with the smaller id.
func (c candidate) compare(d candidate) int {
	if order := cmp.Compare(d.logit, c.logit); order != 0 {
		return order
	}
	return cmp.Compare(c.id, d.id)
}

// sink restores a heap, whose top is the last of the candidates in order, after its top was replaced.
func sink(heap []candidate) {
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(heap) {
			return
		}
		if child+1 < len(heap) && heap[child+1].compare(heap[child]) > 0 {
			child++
		}
		if heap[i].compare(heap[child]) > 0 {
			return
		}
		heap[i], heap[child] = heap[child], heap[i]
		i = child
	}
}

// cutTopP is the candidates that top-p leaves.
func (s *sampler) cutTopP(all []candidate) []candidate {
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

// cutMinP is the candidates that are at least a share as likely as the likeliest.
func (s *sampler) cutMinP(all []candidate) []candidate {
	if s.minP <= 0 {
		return all
	}
	least := all[0].logit + float32(math.Log(s.minP))
	for i, c := range all {
		if c.logit < least {
			return all[:i]
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
