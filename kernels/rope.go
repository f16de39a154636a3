package kernels

// Rope rotates neighbouring pairs of x in place, by the angles whose cosines and sines are given:
//
//	for i := range cos {
//		a, b := x[2*i], x[2*i+1]
//		x[2*i], x[2*i+1] = a*cos[i]-b*sin[i], a*sin[i]+b*cos[i]
//	}
//
// The gradient passes back through the same rotation with -sin.
func Rope(x, cos, sin []float32) {
	if len(x) != 2*len(cos) || len(sin) != len(cos) {
		panic("kernels: Rope of slices that do not fit")
	}
	n := whole(len(cos))
	rope(x[:2*n], cos[:n], sin[:n])
	ropeGeneric(x[2*n:], cos[n:], sin[n:])
}

func ropeGeneric(x, cos, sin []float32) {
	x, sin = x[:2*len(cos)], sin[:len(cos)]
	for i, c := range cos {
		a, b, s := x[2*i], x[2*i+1], sin[i]
		x[2*i], x[2*i+1] = a*c-b*s, a*s+b*c
	}
}

// RopeNeox rotates the pairs (i, i+n/2) of the n elements of x in place:
//
//	for i := range cos {
//		a, b := x[i], x[i+n/2]
//		x[i], x[i+n/2] = a*cos[i]-b*sin[i], a*sin[i]+b*cos[i]
//	}
//
// The gradient passes back through the same rotation with -sin.
func RopeNeox(x, cos, sin []float32) {
	if len(x) != 2*len(cos) || len(sin) != len(cos) {
		panic("kernels: RopeNeox of slices that do not fit")
	}
	n, half := whole(len(cos)), len(cos)
	ropeNeox(x[:n], x[half:half+n], cos[:n], sin[:n])
	ropeNeoxGeneric(x[n:half], x[half+n:], cos[n:], sin[n:])
}

// ropeNeoxGeneric rotates the pairs (x[i], y[i]).
func ropeNeoxGeneric(x, y, cos, sin []float32) {
	x, y, sin = x[:len(cos)], y[:len(cos)], sin[:len(cos)]
	for i, c := range cos {
		a, b, s := x[i], y[i], sin[i]
		x[i], y[i] = a*c-b*s, a*s+b*c
	}
}
