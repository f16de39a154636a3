package model

import (
	"runtime"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// RuntimeActivations are hooks under which the frozen products are those of llama.cpp's CPU backend: it rounds the
// input of a quantized matrix to blocks of 8-bit integers, and of a half-precision one to half precision, before
// multiplying; and GELU comes from a table. Perplexities then are the ones that llama-perplexity prints for the same
// file. Forward only.
type RuntimeActivations struct{ Hooks }

// Input is what the hooks make of x, rounded to what the runtime multiplies w with.
func (r RuntimeActivations) Input(t *autograd.Tape, l *Linear, w *quant.Matrix, x *autograd.Tensor) *autograd.Tensor {
	x = r.Hooks.Input(t, l, w, x)
	round := activationRounding(w.Type)
	if round == nil {
		return x
	}
	y := t.Tensor(x.Rows, x.Cols)
	kernels.Parallel(x.Rows, func(i int) { round(y.Row(i), x.Row(i)) })
	return y
}

// Linear adds what the runtime's products with the minima of blocks are other than those of the rounded inputs. The
// inputs are those before what the hooks make of them.
func (r RuntimeActivations) Linear(t *autograd.Tape, l *Linear, x, y *autograd.Tensor) *autograd.Tensor {
	if hasMinima(l.W.Type) {
		if w := r.Weights(l, &l.W); hasMinima(w.Type) {
			addMinima(y, w, roundedSums(t, x))
		}
	}
	return r.Hooks.Linear(t, l, x, y)
}

// Head adds the same to the products of the output head.
func (r RuntimeActivations) Head(t *autograd.Tape, x *autograd.Tensor, head Head) Head {
	head = r.Hooks.Head(t, x, head)
	if hasMinima(head.W.Type) {
		b := t.Tensor(head.W.Rows, x.Cols/blockQ8)
		kernels.Parallel(b.Rows, func(i int) { minima(b.Row(i), head.W, i) })
		head.Add(t, roundedSums(t, x), b)
	}
	return head
}

// hasMinima says whether the blocks of a type are a half-precision step, a half-precision minimum and codes. The
// runtime multiplies the minimum with the sum of a block's inputs, which has a rounding of its own.
func hasMinima(t gguf.Type) bool { return t == gguf.Q4_1 || t == gguf.Q5_1 }

// minima are those of the blocks of a row.
func minima(dst []float32, w *quant.Matrix, row int) {
	size := w.Type.BlockSize()
	blocks := w.Data[row*len(dst)*size:]
	halves := make([]byte, 0, 2*len(dst))
	for i := range dst {
		halves = append(halves, blocks[i*size+2:i*size+4]...)
	}
	quant.Dequantize(gguf.F16, dst, halves)
}

// roundedSums is by how much the runtime's sum of the values of each block, which is rounded to half precision, is more
// than the sum of the rounded values (T, blocks).
func roundedSums(t *autograd.Tape, x *autograd.Tensor) *autograd.Tensor {
	e := t.Tensor(x.Rows, x.Cols/blockQ8)
	kernels.Parallel(x.Rows, func(i int) {
		codes, sums := make([]float32, x.Cols), e.Row(i)
		steps := codesQ8(codes, x.Row(i))
		halves := make([]float32, len(steps))
		roundThrough(gguf.F16, halves, steps)
		for b, step := range steps {
			sum := float32(kernels.Sum(codes[b*blockQ8 : (b+1)*blockQ8])) // whole numbers
			sums[b] = step * sum
			steps[b] = halves[b] * sum
		}
		roundThrough(gguf.F16, sums, sums)
		for b := range sums {
			sums[b] -= steps[b]
		}
	})
	return e
}

// addMinima adds e·Mᵀ to y (T, rows), M the minima of w's blocks.
func addMinima(y *autograd.Tensor, w *quant.Matrix, e *autograd.Tensor) {
	kernels.Parallel(w.Rows, func(j int) {
		m := make([]float32, e.Cols)
		minima(m, w, j)
		for i := range y.Rows {
			y.Row(i)[j] += kernels.Dot(e.Row(i), m)
		}
	})
}

// tableGELU is GELU as llama.cpp's CPU backend has it: from a table whose inputs and results are in half precision.
func tableGELU(t *autograd.Tape, x *autograd.Tensor) *autograd.Tensor {
	y := t.Tensor(x.Rows, x.Cols)
	kernels.Parallel(x.Rows, func(i int) {
		from, to := x.Row(i), y.Row(i)
		roundThrough(gguf.F16, to, from)
		autograd.GELUGate.Forward(to, to, nil)
		roundThrough(gguf.F16, to, to)
		for j, v := range from {
			if v <= -10 || v >= 10 {
				to[j] = max(v, 0)
			}
		}
	})
	return y
}

// activationRounding is how llama.cpp rounds a row before its product with weights of type t; nil: not at all.
func activationRounding(t gguf.Type) func(dst, src []float32) {
	switch t {
	case gguf.F32:
		return nil
	case gguf.F16, gguf.BF16:
		return func(dst, src []float32) { roundThrough(t, dst, src) }
	}
	if t.BlockLen() == 256 {
		return roundQ8K
	}
	return roundQ8
}

// roundThrough quantizes a row and dequantizes it again.
func roundThrough(t gguf.Type, dst, src []float32) {
	var buf [2 * 256]byte // 256 values of half precision
	const step = 256
	for at := 0; at < len(src); at += step {
		n := min(step, len(src)-at)
		blocks := buf[:n/t.BlockLen()*t.BlockSize()]
		quant.Quantize(t, blocks, src[at:at+n], n, nil)
		quant.Dequantize(t, dst[at:at+n], blocks)
	}
}

// blockQ8 is how many values share a step where the weights' blocks are not of 256.
const blockQ8 = 32

// roundQ8 rounds every 32 values to multiples of a step, which itself is rounded to half precision.
func roundQ8(dst, src []float32) {
	steps := codesQ8(dst, src)
	roundThrough(gguf.F16, steps, steps)
	for i, step := range steps {
		kernels.Scale(step, dst[i*blockQ8:(i+1)*blockQ8])
	}
}

// codesQ8 divides every 32 values by a step of which the largest magnitude is 127, to whole numbers, and gives the
// steps. Unlike in the blocks of a file, halves go to the even number, and on x86 the values are multiplied by 127 over
// the largest magnitude, not by one over the step: llama.cpp's kernels do so.
func codesQ8(dst, src []float32) (steps []float32) {
	steps = make([]float32, len(src)/blockQ8)
	for i := range steps {
		block := src[i*blockQ8 : (i+1)*blockQ8]
		var top float32
		for _, v := range block {
			top = max(top, abs(v))
		}
		steps[i] = top / 127
		inverse := float32(0)
		switch {
		case top == 0:
		case runtime.GOARCH == "amd64":
			inverse = 127 / top
		default:
			inverse = 1 / steps[i]
		}
		for j, v := range block {
			dst[i*blockQ8+j] = roundToEven(inverse * v)
		}
	}
	return steps
}

// roundQ8K rounds every 256 values to multiples of a float32 step of which the largest value is -127, or 127.
func roundQ8K(dst, src []float32) {
	for at := 0; at < len(src); at += 256 {
		block := src[at : at+256]
		var top float32
		for _, v := range block {
			if abs(v) > abs(top) {
				top = v
			}
		}
		if top == 0 {
			clear(dst[at : at+256])
			continue
		}
		inverse := -127 / top
		step := 1 / inverse
		for i, v := range block {
			dst[at+i] = step * min(roundToEven(inverse*v), 127)
		}
	}
}

func abs(x float32) float32 { return max(x, -x) }

// roundToEven rounds |x| < 2^22 to the nearest whole number, ties to even.
func roundToEven(x float32) float32 {
	const shift = 1.5 * (1 << 23)
	return float32(x+shift) - shift
}
