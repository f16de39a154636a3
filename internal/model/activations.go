package model

import (
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
	return func(dst, src []float32) { roundThrough(gguf.Q8_0, dst, src) }
}

// roundThrough quantizes a row and dequantizes it again.
func roundThrough(t gguf.Type, dst, src []float32) {
	var buf [34 * 16]byte // 512 values of Q8_0
	const step = 256
	for at := 0; at < len(src); at += step {
		n := min(step, len(src)-at)
		blocks := buf[:n/t.BlockLen()*t.BlockSize()]
		quant.Quantize(t, blocks, src[at:at+n], n, nil)
		quant.Dequantize(t, dst[at:at+n], blocks)
	}
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
