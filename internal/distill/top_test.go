package distill

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// topDefinition is KL of the k likeliest tokens of p and the sum of the rest, and of the same of q.
func topDefinition(p, q []float64, k int) (kl float64) {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmpFloat(p[b], p[a]) })
	restP, restQ := 0.0, 0.0
	for i, id := range order {
		if i < k {
			kl += p[id] * math.Log(p[id]/q[id])
		} else {
			restP, restQ = restP+p[id], restQ+q[id]
		}
	}
	if restP > 0 {
		kl += restP * math.Log(restP/restQ)
	}
	return kl
}

func cmpFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// TestTop holds the divergence of the likeliest tokens against its definition, up to what half precision leaves of
// their probabilities, and the gradient against differences of the loss.
func TestTop(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, c := range []struct {
		vocab, k           int
		alpha, temperature float32
	}{{7, 1, 1, 1}, {300, 16, 1, 1}, {300, 16, 0.5, 2}, {33, 33, 1, 0.5}, {4000, 64, 1, 1}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			student, teacher := random(r, c.vocab), random(r, c.vocab)
			top := make(Top, TopBytes(c.k))
			top.Set(slices.Clone(teacher), c.temperature)
			by := &Criterion{Alpha: c.alpha, Temperature: c.temperature, Top: func(i int) Top {
				if i != 5 {
					t.Errorf("row %d, expected 5", i)
				}
				return top
			}}
			loss := func(row []float32) float64 { return float64(by.Row(5, 2, slices.Clone(row), 1, false)) }
			p, q := softmax(teacher, float64(c.temperature)), softmax(student, float64(c.temperature))
			want := float64(c.alpha)*float64(c.temperature*c.temperature)*topDefinition(p, q, c.k) +
				float64(1-c.alpha)*-math.Log(softmax(student, 1)[2])
			if got := loss(student); math.Abs(got-want) > 2e-3*(1+want) {
				t.Errorf("loss %v, expected %v", got, want)
			}
			gradient := slices.Clone(student)
			by.Begin(4, 3)
			by.Row(5, 2, gradient, 0.5, true)
			for range 20 {
				i := r.IntN(c.vocab)
				const step = 0.01
				at := func(d float32) float64 {
					row := slices.Clone(student)
					row[i] += d
					return loss(row)
				}
				if want := (at(step) - at(-step)) / (2 * step) * 0.5; math.Abs(float64(gradient[i])-want) > 2e-4 {
					t.Errorf("derivative by logit %d is %v, expected %v", i, gradient[i], want)
				}
			}
		})
	}
}

// TestTopOrder: equal logits are taken from the first on, and ids ascend.
func TestTopOrder(t *testing.T) {
	top := make(Top, TopBytes(3))
	top.Set([]float32{1, 5, 1, 1, 1, 5, 0, 1, 1}, 1)
	for i, want := range []uint32{0, 1, 5} {
		if got := top.at(i).id; got != want {
			t.Errorf("token %d is %d, expected %d", i, got, want)
		}
	}
}
