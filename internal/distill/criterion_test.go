package distill

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/kernels"
)

// softmax is the definition, in float64.
func softmax(logits []float32, temperature float64) []float64 {
	p, sum := make([]float64, len(logits)), 0.0
	for i, v := range logits {
		p[i] = math.Exp(float64(v) / temperature)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// definition is the loss of a row.
func definition(student, teacher []float32, target int, alpha, temperature float64) float64 {
	p, q := softmax(teacher, temperature), softmax(student, temperature)
	kl := 0.0
	for i := range p {
		kl += p[i] * math.Log(p[i]/q[i])
	}
	return (1-alpha)*-math.Log(softmax(student, 1)[target]) + alpha*temperature*temperature*kl
}

func random(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(2 * r.NormFloat64())
	}
	return x
}

// TestRow holds the loss against its definition, and the gradient against differences of it.
func TestRow(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		vocab              int
		alpha, temperature float32
	}{{7, 1, 1}, {300, 0.5, 1}, {33, 0.9, 2}, {33, 1, 0.5}, {12, 0, 1}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			student, teacher := random(r, c.vocab), random(r, c.vocab)
			target := r.IntN(c.vocab)
			of := func(row []float32) float64 {
				return definition(row, teacher, target, float64(c.alpha), float64(c.temperature))
			}
			by := &Criterion{Alpha: c.alpha, Temperature: c.temperature, Teacher: func(first, n int) *autograd.Tensor {
				if first != 4 || n != 3 {
					t.Errorf("rows %d to %d, expected 4 to 6", first, first+n-1)
				}
				return autograd.NewConst(3, c.vocab, slices.Concat(student, teacher, student))
			}}
			by.Begin(4, 3)
			without := by.Row(5, int32(target), slices.Clone(student), 0.25, false)
			by.Begin(4, 3)
			gradient := slices.Clone(student)
			loss := by.Row(5, int32(target), gradient, 0.25, true)
			if want := of(student); loss != without || math.Abs(float64(loss)-want) > 2e-6*(1+want) {
				t.Errorf("loss %v, without a gradient %v, expected %v", loss, without, want)
			}
			for i := range student {
				const h = 1e-3
				up, down := slices.Clone(student), slices.Clone(student)
				up[i], down[i] = up[i]+h, down[i]-h
				want := 0.25 * (of(up) - of(down)) / (float64(up[i]) - float64(down[i]))
				if math.Abs(float64(gradient[i])-want) > 1e-5 {
					t.Errorf("derivative %d is %v, expected %v", i, gradient[i], want)
				}
			}
			same := &Criterion{Alpha: 1, Temperature: c.temperature, Teacher: func(int, int) *autograd.Tensor {
				return autograd.NewConst(1, c.vocab, slices.Clone(student))
			}}
			same.Begin(0, 1)
			if loss := same.Row(0, 0, slices.Clone(student), 1, false); loss > 1e-6 {
				t.Errorf("the divergence of a row from itself is %v", loss)
			}
		})
	}
}

// TestLoss runs the criterion through the products with the head, in blocks, with rows that have no target between.
func TestLoss(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const rows, cols, vocab, scale = 9, 16, 40, 0.5
	h, head := autograd.NewParam(rows, cols, random(r, rows*cols), make([]float32, rows*cols)),
		autograd.NewConst(vocab, cols, random(r, vocab*cols))
	targets := []int32{3, batch.Ignore, 5, 0, batch.Ignore, 39, 7, 7, 1}
	teacher := autograd.NewConst(7, vocab, random(r, 7*vocab))
	kept := slices.Clone(teacher.Data)
	tape := autograd.NewTape()
	run := func(record bool) (losses []float32) {
		tape.Record(record)
		tape.Reset(0)
		copy(teacher.Data, kept)
		by := &Criterion{Alpha: 0.7, Temperature: 2, Teacher: func(first, n int) *autograd.Tensor {
			return autograd.NewConst(n, vocab, teacher.Data[first*vocab:(first+n)*vocab])
		}}
		w := kernels.Dense{Rows: vocab, Cols: cols, Data: head.Data}
		losses = slices.Clone(tape.Loss(h, w, nil, targets, scale, autograd.Logits{}, by))
		if record {
			tape.Backward()
		}
		return losses
	}
	losses := run(true)
	sum := func() (s float64) {
		for _, l := range run(false) {
			s += float64(l)
		}
		return s
	}
	n := 0
	for i, target := range targets {
		if target == batch.Ignore {
			continue
		}
		row := make([]float32, vocab)
		for v := range row {
			for c := range cols {
				row[v] += h.Data[i*cols+c] * head.Data[v*cols+c]
			}
		}
		want := definition(row, kept[n*vocab:(n+1)*vocab], int(target), 0.7, 2)
		if math.Abs(float64(losses[n])-want) > 1e-4*(1+want) {
			t.Errorf("row %d: loss %v, expected %v", i, losses[n], want)
		}
		n++
	}
	for _, i := range []int{0, 17, 35, 16*8 + 15} {
		const step = 1e-2
		was := h.Data[i]
		h.Data[i] = was + step
		up := sum()
		h.Data[i] = was - step
		down := sum()
		h.Data[i] = was
		if want := scale * (up - down) / (2 * step); math.Abs(float64(h.Grad[i])-want) > 2e-3*(1+math.Abs(want)) {
			t.Errorf("derivative %d is %v, expected %v", i, h.Grad[i], want)
		}
	}
}
