package autograd

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/peftconv/peftconv/internal/alloctest"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/kernels"
)

// logit64 makes the logit of word v in float64, and its derivative with respect to the product z.
func logit64(l Logits, z float64, v int) (logit, slope float64) {
	slope = 1
	if l.Bias != nil {
		z += float64(l.Bias[v])
	}
	if l.Scale != 0 {
		z, slope = z*float64(l.Scale), float64(l.Scale)
	}
	if l.Cap != 0 {
		tanh := math.Tanh(z / float64(l.Cap))
		z, slope = float64(l.Cap)*tanh, slope*(1-tanh*tanh)
	}
	return z, slope
}

// crossEntropy64 is the summed loss in float64, with the gradients of scale times it.
func crossEntropy64(h, w *Tensor, targets []int32, scale float64, l Logits) (loss float64, dh, dw []float64) {
	dh, dw = make([]float64, len(h.Data)), make([]float64, len(w.Data))
	logits, slopes := make([]float64, w.Rows), make([]float64, w.Rows)
	for i, target := range targets {
		if target == batch.Ignore {
			continue
		}
		sum := 0.0
		for v := range logits {
			z := 0.0
			for j, x := range h.Row(i) {
				z += float64(x) * float64(w.Row(v)[j])
			}
			logits[v], slopes[v] = logit64(l, z, v)
			sum += math.Exp(logits[v])
		}
		loss += math.Log(sum) - logits[target]
		for v := range logits {
			d := math.Exp(logits[v]) / sum
			if v == int(target) {
				d--
			}
			d *= scale * slopes[v]
			for j, x := range h.Row(i) {
				dh[i*h.Cols+j] += d * float64(w.Row(v)[j])
				dw[v*w.Cols+j] += d * float64(x)
			}
		}
	}
	return loss, dh, dw
}

// logitForms are all ways in which logits are made.
func logitForms(vocab int) map[string]Logits {
	bias := dense(1, vocab, 9).Data
	return map[string]Logits{
		"plain": {}, "bias": {Bias: bias}, "scale": {Scale: 0.25}, "cap": {Cap: 1.5},
		"all": {Scale: 2, Cap: 3, Bias: bias},
	}
}

// TestLogits compares loss and gradients with float64 for all forms of logits, with rows all at once and some at a
// time.
func TestLogits(t *testing.T) {
	defer func(n int) { logitFloats = n }(logitFloats)
	const rows, cols, vocab = 11, 6, 301
	for name, form := range logitForms(vocab) {
		for _, floats := range []int{LogitFloats, 3 * vocab} {
			logitFloats = floats
			p := randomParams([][2]int{{rows, cols}, {vocab, cols}}, 5)
			targets := make([]int32, rows)
			for i := range targets {
				targets[i] = int32(i * 31 % vocab)
			}
			targets[2] = batch.Ignore
			want, dh, dw := crossEntropy64(p[0], p[1], targets, 0.5, form)
			tape, got := NewTape(), 0.0
			matrix := kernels.Dense{Rows: vocab, Cols: cols, Data: p[1].Data}
			for _, loss := range tape.CrossEntropy(p[0], matrix, p[1], targets, 0.5, form) {
				got += float64(loss)
			}
			tape.Backward()
			if math.Abs(got-want) > 1e-5*want {
				t.Errorf("%s: loss %g, want %g", name, got, want)
			}
			for i, gradients := range [][]float64{dh, dw} {
				for j, d := range gradients {
					if math.Abs(float64(p[i].Grad[j])-d) > 2e-6 {
						t.Fatalf("%s: gradient %d of parameter %d is %g, want %g", name, j, i, p[i].Grad[j], d)
					}
				}
			}
		}
	}
}

// TestLogitGradients compares gradients with differences.
func TestLogitGradients(t *testing.T) {
	const rows, cols, vocab = 9, 6, 50
	targets := []int32{0, 7, 14, 21, 28, 35, 42, 49, 3}
	for name, form := range logitForms(vocab) {
		p, tape := randomParams([][2]int{{rows, cols}, {vocab, cols}}, 5), NewTape()
		loss := func(record bool) (sum float64) {
			tape.Reset(0)
			tape.Record(record)
			matrix := kernels.Dense{Rows: vocab, Cols: cols, Data: p[1].Data}
			for _, l := range tape.CrossEntropy(p[0], matrix, p[1], targets, 1, form) {
				sum += float64(l)
			}
			return sum
		}
		loss(true)
		tape.Backward()
		t.Run(name, func(t *testing.T) {
			for i, x := range p {
				checkDirection(t, i, x, func() float64 { return loss(false) })
			}
		})
	}
}

// TestLogitsOnThreads wants the bits of one thread from several.
func TestLogitsOnThreads(t *testing.T) {
	defer kernels.SetThreads(0)
	const rows, cols, vocab = 60, 6, 301
	for name, form := range logitForms(vocab) {
		var first []float32
		for _, threads := range []int{1, 3} {
			kernels.SetThreads(threads)
			p, tape := randomParams([][2]int{{rows, cols}, {vocab, cols}}, 5), NewTape()
			matrix := kernels.Dense{Rows: vocab, Cols: cols, Data: p[1].Data}
			result := slices.Clone(tape.CrossEntropy(p[0], matrix, p[1], make([]int32, rows), 1, form))
			tape.Backward()
			result = slices.Concat(result, p[0].Grad, p[1].Grad)
			if first == nil {
				first = result
			}
			if !slices.Equal(first, result) {
				t.Errorf("%s: %d threads give other bits than 1", name, threads)
			}
		}
	}
}

// TestLogitsInInt8 wants about the gradient of float32 from products in int8.
func TestLogitsInInt8(t *testing.T) {
	const rows, cols, vocab = 8, 64, 512
	for name, form := range logitForms(vocab) {
		var gradients [2][]float32
		for i, precision := range []kernels.Precision{kernels.F32, kernels.Int8} {
			p := randomParams([][2]int{{rows, cols}}, 5)
			kernels.Scale(0.1, p[0].Data)
			tape := NewTape()
			tape.Precision(precision)
			tape.CrossEntropy(p[0], dense(vocab, cols, 2), nil, make([]int32, rows), 1, form)
			tape.Backward()
			gradients[i] = p[0].Grad
		}
		norm := kernels.SumSquares(gradients[0])
		kernels.Axpy(-1, gradients[1], gradients[0])
		if err := math.Sqrt(kernels.SumSquares(gradients[0]) / norm); err > 0.05 || err == 0 {
			t.Errorf("%s: the gradient in int8 is off by %g of its length", name, err)
		}
	}
}

// TestApplyLogits compares with float64.
func TestApplyLogits(t *testing.T) {
	const rows, vocab = 5, 301
	for name, form := range logitForms(vocab) {
		y := NewConst(rows, vocab, dense(rows, vocab, 3).Data)
		want := slices.Clone(y.Data)
		NewTape().ApplyLogits(y, form)
		for i, z := range want {
			if logit, _ := logit64(form, float64(z), i%vocab); math.Abs(float64(y.Data[i])-logit) > 1e-6*(1+math.Abs(logit)) {
				t.Fatalf("%s: logit %d is %g, want %g", name, i, y.Data[i], logit)
			}
		}
	}
	wantPanic(t, "biases", func() { NewTape().ApplyLogits(NewConst(1, 2, ones[:2]), Logits{Bias: ones[:3]}) })
}

// TestLogitsAllocateNothing wants a step like the one before to find all memory that it needs.
func TestLogitsAllocateNothing(t *testing.T) {
	p, w := randomParams([][2]int{{64, 32}}, 5), kernels.Weights(dense(300, 32, 1))
	form, targets, tape := logitForms(300)["all"], make([]int32, 64), NewTape()
	step := func() {
		tape.Reset(1)
		tape.CrossEntropy(p[0], w, nil, targets, 1, form)
		tape.Backward()
	}
	if n := alloctest.Steady(20, step); n > 0 {
		t.Errorf("a step allocates %g times", n)
	}
}

// BenchmarkCrossEntropy reports GFLOP/s of the two products, for all forms of logits.
func BenchmarkCrossEntropy(b *testing.B) {
	const rows, cols, vocab = 128, 256, 32000
	p, w := randomParams([][2]int{{rows, cols}}, 5), kernels.Weights(dense(vocab, cols, 1))
	targets := make([]int32, rows)
	for name, form := range logitForms(vocab) {
		for _, backward := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/backward=%v", name, backward), func(b *testing.B) {
				kernels.SetThreads(1)
				defer kernels.SetThreads(0)
				tape := NewTape()
				tape.Record(backward)
				flops, best := 2.0*rows*cols*vocab, time.Hour
				if backward {
					flops *= 2
				}
				for b.Loop() {
					start := time.Now()
					tape.Reset(1)
					tape.CrossEntropy(p[0], w, nil, targets, 1, form)
					tape.Backward()
					best = min(best, time.Since(start))
				}
				b.ReportMetric(flops/best.Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}
