package floats

import "math"

// The polynomial of exp, and ln 2 in two parts.
var (
	expTerms = [...]float32{0.00139304355252534151077271, 0.00833336077630519866943359, 0.0416664853692054748535156,
		0.166666671633720397949219, 0.5}
	ln2High, ln2Low = float32(0.693145751953125), float32(1.428606765330187045e-06)
)

// Exp is e^x to the last bit as PyTorch's exp of float32 on CPUs, which the reference converter calls: the function
// expf of 1.0 ULP of SLEEF 3 (Shibata, Petrogalli 2019).
func Exp(x float32) float32 {
	n := math.RoundToEven(float64(float32(x * float32(math.Log2E))))
	s := fma(float32(n), -ln2High, x)
	s = fma(float32(n), -ln2Low, s)
	u := float32(0.000198527617612853646278381)
	for _, c := range expTerms {
		u = fma(u, s, c)
	}
	u = 1 + fma(float32(s*s), u, s)
	return float32(math.Ldexp(float64(u), int(n)))
}

// fma is a·b + c, rounded once in all but very few cases.
func fma(a, b, c float32) float32 { return float32(math.FMA(float64(a), float64(b), float64(c))) }
