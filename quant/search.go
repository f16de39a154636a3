package quant

import (
	"math"

	"github.com/peftconv/peftconv/kernels"
)

// The searches decide the codes and scales of a block. They are the published algorithms of ggml's quantizers, and the
// bytes depend on each of their roundings: every product is rounded to float32 before it is added (hence the
// conversions, which forbid fused multiply-add), and every sum runs from the first weight to the last.

// noScale is the largest magnitude that is quantized as zero.
const noScale = 1e-15

// greatestFloat is the initial value of searches for the least error.
const greatestFloat = math.MaxFloat32

func sumSquares(x []float32) float32 {
	var sum float32
	for _, v := range x {
		sum += float32(v * v)
	}
	return sum
}

func sumOf(x []float32) float32 {
	var sum float32
	for _, v := range x {
		sum += v
	}
	return sum
}

// peak is the value of largest magnitude, the first of several; 0 where nothing but zeros and NaN are found.
func peak(x []float32) float32 {
	var p, mag float32
	for _, v := range x {
		if a := absf(v); a > mag {
			p, mag = v, a
		}
	}
	return p
}

// greatestMagnitude is the greatest magnitude of x as the macro MAX of the reference finds it: NaN is taken, and so is
// whatever follows NaN.
func greatestMagnitude(x []float32) (greatest float32) {
	for _, v := range x {
		if a := absf(v); !(greatest > a) {
			greatest = a
		}
	}
	return greatest
}

// hasNaN says whether there is NaN in x.
func hasNaN(x []float32) bool {
	squares := kernels.Dot(x, x)
	return squares != squares
}

// extent is the least and the greatest of x.
func extent(x []float32) (least, greatest float32) {
	least, greatest = math.MaxFloat32, -math.MaxFloat32
	for _, v := range x {
		if v < least {
			least = v
		}
		if v > greatest {
			greatest = v
		}
	}
	return least, greatest
}

// squares sets w to spread + x².
func squares(w, x []float32, spread float32) {
	for i, v := range x[:len(w)] {
		w[i] = spread + float32(v*v)
	}
}

// errorWeights sets w to importance·√(spread + x²): the importance of the columns, raised where weights are large.
func errorWeights(w, x, importance []float32, spread float32) {
	x, importance = x[:len(w)], importance[:len(w)]
	for i, v := range x {
		w[i] = float32(importance[i] * sqrtf(spread+float32(v*v)))
	}
}

// spreadScales spreads the codes 0 to top from 0 to the greatest scale, and returns the size of one step.
func spreadScales(codes []uint8, scale []float32, top uint8) float32 {
	var greatest, inverse float32
	for _, s := range scale {
		if s > greatest {
			greatest = s
		}
	}
	if greatest > 0 {
		inverse = float32(top) / greatest
	}
	for i, s := range scale {
		codes[i] = min(uint8(nearest(inverse*s)), top)
	}
	return greatest / float32(top)
}
