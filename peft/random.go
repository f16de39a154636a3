package peft

import "math"

// random is the SplitMix64 generator (Steele, Lea, Flood 2014): small, and the same on every machine.
type random struct{ state uint64 }

// newRandom gives an independent stream for each name under one seed.
func newRandom(seed uint64, name string) *random {
	const offset, prime = 0xcbf29ce484222325, 0x100000001b3 // FNV-1a
	h := uint64(offset)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * prime
	}
	r := &random{state: h}
	return &random{state: seed ^ r.next()}
}

func (r *random) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	return mix(r.state)
}

// mix is the finaliser of SplitMix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// float is uniform in [0, 1).
func (r *random) float() float64 { return float64(r.next()>>11) / (1 << 53) }

// uniform fills x with values in [-bound, bound).
func (r *random) uniform(x []float32, bound float64) {
	for i := range x {
		x[i] = float32(bound * (2*r.float() - 1))
	}
}

// normal fills x with values of mean 0 (Box and Muller's transform).
func (r *random) normal(x []float32, deviation float64) {
	for i := range x {
		radius := math.Sqrt(-2 * math.Log(1-r.float()))
		x[i] = float32(deviation * radius * math.Cos(2*math.Pi*r.float()))
	}
}
