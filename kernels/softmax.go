package kernels

import "math"

// Softmax replaces x by exp(x-max(x)) / sum(exp(x-max(x))).
func Softmax(x []float32) {
	if len(x) == 0 {
		return
	}
	Scale(1/ExpSum(x, Max(x)), x)
}

// ExpSum replaces each x[i] by exp(x[i]-max) and returns their sum. A result that would be subnormal is 0,
// one that would overflow is +Inf. The relative error of each is below 2 units in the last place of the
// difference's exponential.
func ExpSum(x []float32, max float32) float32 {
	n := whole(len(x))
	s := expSum(x[:n], max)
	if n < len(x) {
		s += expSumRest(x[n:], max)
	}
	return s
}

// expSumRest fills the block that x is the beginning of with elements whose exponentials are 0: this is
// faster than one element after the other.
func expSumRest(x []float32, max float32) float32 {
	var block [blockLen]float32
	for i := copy(block[:], x); i < len(block); i++ {
		block[i] = float32(math.Inf(-1))
	}
	s := expSum(block[:], max)
	copy(x, block[:])
	return s
}

func expSumGeneric(x []float32, max float32) float32 {
	var s float32
	for i, v := range x {
		e := expGeneric(v - max)
		x[i] = e
		s += e
	}
	return s
}

const (
	expLow  = -87.33654 // below it exp is subnormal: taken as 0
	expHigh = 88.72284  // above it exp overflows

	log2e = 1.44269504088896340735992468100189214
	ln2   = 0.693147180559945309417232121458176568
)

// expGeneric is exp(x): x = n ln 2 + r with |r| <= ln(2)/2, exp(x) = 2^n exp(r), and exp(r) is its Taylor
// polynomial of degree 7.
func expGeneric(x float32) float32 {
	switch {
	case x < expLow:
		return 0
	case x > expHigh:
		return float32(math.Inf(1))
	case x != x:
		return x
	}
	n := math.RoundToEven(float64(x) * log2e)
	r := float64(x) - n*ln2
	p := 1 + r*(1+r*(1./2+r*(1./6+r*(1./24+r*(1./120+r*(1./720+r*(1./5040)))))))
	return float32(p * math.Float64frombits(uint64(int64(n)+1023)<<52))
}
