package distill

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"github.com/x448/float16"

	"github.com/peftconv/peftconv/internal/freelist"
	"github.com/peftconv/peftconv/kernels"
)

// A Top is the likeliest tokens of a distribution, in a form that is kept: for each its id, a uint32, and the
// logarithm of its probability, in half precision. What they lack of 1 is the rest's.
type Top []byte

// topSize is the bytes of a token in a Top.
const topSize = 4 + 2

// TopBytes is the size of a Top of k tokens.
func TopBytes(k int) int { return k * topSize }

// token is one of a Top.
type token struct {
	id  uint32
	log float32 // of its probability
}

// at is token number i.
func (t Top) at(i int) token {
	b := t[i*topSize:]
	half := float16.Frombits(binary.LittleEndian.Uint16(b[4:]))
	return token{binary.LittleEndian.Uint32(b), half.Float32()}
}

// set sets token number i.
func (t Top) set(i int, v token) {
	b := t[i*topSize:]
	binary.LittleEndian.PutUint32(b, v.id)
	binary.LittleEndian.PutUint16(b[4:], float16.Fromfloat32(v.log).Bits())
}

// topScratch is memory of Set.
type topScratch struct{ list []token }

var topScratches freelist.List[topScratch]

// Set makes it the likeliest tokens of the softmax of logits divided by a temperature, in the order of their ids: as
// many as it has room for, which are no more than there are. Of equal ones the first are taken. The logits are
// overwritten.
func (t Top) Set(logits []float32, temperature float32) {
	s := topScratches.Get()
	defer topScratches.Put(s)
	k := len(t) / topSize
	topmost(logits, temperature)
	s.list = s.list[:0]
	floor := float32(math.Inf(-1)) // below it are those that cannot be among the likeliest
	for id, v := range logits {
		if v <= floor {
			continue
		}
		if s.list = append(s.list, token{uint32(id), v}); len(s.list) == 2*k {
			floor = s.cut(k)
		}
	}
	s.cut(k)
	slices.SortFunc(s.list, func(a, b token) int { return cmp.Compare(a.id, b.id) })
	sum := float32(math.Log(float64(kernels.ExpSum(logits, 0))))
	for i, v := range s.list {
		t.set(i, token{v.id, v.log - sum})
	}
}

// cut keeps the k likeliest and gives the least of them.
func (s *topScratch) cut(k int) float32 {
	slices.SortFunc(s.list, func(a, b token) int { return cmp.Or(cmp.Compare(b.log, a.log), cmp.Compare(a.id, b.id)) })
	s.list = s.list[:min(k, len(s.list))]
	return s.list[len(s.list)-1].log
}

// divergenceOfTop is KL(p ‖ q) of a Top p, whose rest counts as one token, and the softmax q of a row of logits
// divided by a temperature. The logits become the derivative by what was divided.
func divergenceOfTop(top Top, student []float32, temperature float32) float32 {
	s := topScratches.Get()
	defer topScratches.Put(s)
	topmost(student, temperature)
	s.list = s.list[:0]
	kl, known := 0.0, 0.0
	for i := range len(top) / topSize {
		v := top.at(i)
		p := math.Exp(float64(v.log))
		kl += p * float64(v.log-student[v.id])
		known += p
		s.list = append(s.list, v)
	}
	sum := float64(kernels.ExpSum(student, 0))
	rest, covered := max(0, 1-known), 0.0
	for i, v := range s.list {
		q := float64(student[v.id]) / sum
		covered += q
		s.list[i].log = float32((known+rest)*q - math.Exp(float64(v.log))) // the derivative
	}
	kl += known * math.Log(sum)
	covered = max(1-covered, leastRest) // by the rest
	if rest > 0 {
		kl += rest * math.Log(rest/covered)
	}
	kernels.Scale(float32((known+rest-rest/covered)/sum), student)
	for _, v := range s.list {
		student[v.id] = v.log
	}
	return float32(max(kl, 0))
}

// leastRest is the least probability that all tokens but those of a Top are taken to have.
const leastRest = 1e-6
