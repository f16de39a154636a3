// Package distill has the loss of a model that learns the probabilities of another one, its teacher (Hinton et al.
// 2015, "Distilling the Knowledge in a Neural Network").
package distill

import (
	"math"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/freelist"
	"github.com/peftconv/peftconv/kernels"
)

// Criterion is (1-Alpha)·cross entropy + Alpha·T²·KL(teacher ‖ student), T being the temperature by which both
// models' logits are divided in the divergence. All of the vocabulary counts, unless Top is given. It implements
// autograd.Criterion.
type Criterion struct {
	Alpha       float32 // 0 to 1
	Temperature float32 // more than 0
	// Teacher gives the teacher's logits (n, V) of rows from number first on, which the criterion overwrites.
	Teacher func(first, n int) *autograd.Tensor
	// Top, where it is not nil, gives the teacher's likeliest tokens of row i instead, at this temperature.
	Top func(i int) Top

	first int
	block *autograd.Tensor
}

// Begin takes the teacher's logits of the next rows.
func (c *Criterion) Begin(first, n int) {
	if c.Top == nil {
		c.first, c.block = first, c.Teacher(first, n)
	}
}

// scratch is memory of Row.
type scratch struct{ soft, change []float32 }

var scratches freelist.List[scratch]

// Row is the loss of a row.
func (c *Criterion) Row(i int, target int32, logits []float32, scale float32, gradient bool) float32 {
	s := scratches.Get()
	defer scratches.Put(s)
	if len(s.soft) != len(logits) {
		s.soft, s.change = make([]float32, len(logits)), make([]float32, len(logits))
	}
	copy(s.soft, logits)
	t := c.Temperature
	var kl float32
	if c.Top != nil {
		kl = divergenceOfTop(c.Top(i), s.soft, t)
	} else {
		kl = divergence(c.block.Row(i-c.first), s.soft, s.change, t)
	}
	loss := c.Alpha * t * t * kl
	if c.Alpha < 1 {
		loss += (1 - c.Alpha) * crossEntropy(logits, target)
	}
	switch {
	case !gradient:
	case c.Alpha < 1:
		kernels.Scale(scale*(1-c.Alpha), logits)
		kernels.Axpy(scale*c.Alpha*t, s.soft, logits)
	default:
		copy(logits, s.soft)
		kernels.Scale(scale*t, logits)
	}
	return loss
}

// crossEntropy is -log of the target's probability; the logits become its derivative.
func crossEntropy(logits []float32, target int32) float32 {
	top, logit := kernels.Max(logits), logits[target]
	sum := kernels.ExpSum(logits, top)
	kernels.Scale(1/sum, logits)
	logits[target]--
	return top + float32(math.Log(float64(sum))) - logit
}

// divergence is KL(p ‖ q) of the softmaxes p and q of two rows of logits divided by a temperature. The student's become
// q - p, which is the derivative by what was divided; the teacher's and change are overwritten.
func divergence(teacher, student, change []float32, temperature float32) float32 {
	topmost(teacher, temperature)
	topmost(student, temperature)
	copy(change, teacher)
	kernels.Axpy(-1, student, change)
	sumP, sumQ := kernels.ExpSum(teacher, 0), kernels.ExpSum(student, 0)
	kl := float64(kernels.Dot(teacher, change))/float64(sumP) + math.Log(float64(sumQ)/float64(sumP))
	kernels.Scale(1/sumQ, student)
	kernels.Axpy(-1/sumP, teacher, student)
	return float32(max(kl, 0))
}

// topmost divides logits by a temperature and moves them so that the largest is 0.
func topmost(logits []float32, temperature float32) {
	if temperature != 1 {
		kernels.Scale(1/temperature, logits)
	}
	kernels.Shift(-kernels.Max(logits), logits)
}
