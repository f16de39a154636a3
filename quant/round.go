package quant

import "math"

// A float32 of magnitude below roundingRange = 2²² that has roundingBias = 1.5·2²³ added and taken away again is
// rounded to the nearest whole number, ties to even.
const (
	roundingRange = 1 << 22
	roundingBias  = 3 << 22
)

// nearest rounds to the nearest whole number, ties to even. Beyond roundingRange it returns the low bits of the biased
// number, as ggml's does: 0 or a wrong number, but always the same.
func nearest(f float32) int {
	return int(math.Float32bits(float32(f)+roundingBias)&0x7fffff) - 0x400000
}

// nearestClamped is nearest(f) limited to lo … hi.
func nearestClamped(f float32, lo, hi int) int { return min(max(nearest(f), lo), hi) }

// truncated is f without its fraction. NaN and numbers beyond int32 give the least int32 on every platform.
func truncated(f float32) int32 {
	if f > -1<<31-1 && f < 1<<31 {
		return int32(f)
	}
	return math.MinInt32
}

// roundedCode is the signed byte to which f, already raised by one half, is truncated, at most top.
func roundedCode(f float32, top int8) uint8 {
	return uint8(min(int8(truncated(f)), top))
}

// roundHalfAway rounds to the nearest whole number, halves away from zero.
func roundHalfAway(f float32) int32 {
	const almostHalf = 0x3effffff // the float32 before 0.5: 0.5 itself would carry 0.49999997 to 1
	sign := math.Float32bits(f) & (1 << 31)
	return truncated(f + math.Float32frombits(sign|almostHalf))
}

// signOfMadeNaN gives a NaN that arithmetic made of the numbers x the sign that x86 gives it. Other results stay, and
// so does NaN of a NaN in x.
func signOfMadeNaN(f float32, x []float32) float32 {
	if f != f && !hasNaN(x) {
		return math.Float32frombits(0xffc00000)
	}
	return f
}

// inverseOf is 1/d, or 0 where d is 0.
func inverseOf(d float32) float32 {
	if d == 0 {
		return 0
	}
	return 1 / d
}

func absf(f float32) float32 { return math.Float32frombits(math.Float32bits(f) &^ (1 << 31)) }

// sqrtf is the square root rounded to float32.
func sqrtf(f float32) float32 { return float32(math.Sqrt(float64(f))) }
