package prng

import (
	"math"
)

// Random is the SplitMix64 generator (Steele, Lea, Flood 2014): small, and the same on every machine.
type Random struct{ State uint64 }

// NewRandom gives an independent stream for each name under one seed.
func NewRandom(seed uint64, name string) *Random {
	const offset, prime = 0xcbf29ce484222325, 0x100000001b3 // FNV-1a
	h := uint64(offset)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * prime
	}
	r := &Random{State: h}
	return &Random{State: seed ^ r.Next()}
}

// Next is the next 64 random bits (SplitMix64).
func (r *Random) Next() uint64 {
	r.State += 0x9e3779b97f4a7c15
	return Mix(r.State)
}

// Mix is the finaliser of SplitMix64.
func Mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Float is uniform in [0, 1).
func (r *Random) Float() float64 { return float64(r.Next()>>11) / (1 << 53) }

// Uniform fills x with values in [-bound, bound).
func (r *Random) Uniform(x []float32, bound float64) {
	for i := range x {
		x[i] = float32(bound * (2*r.Float() - 1))
	}
}

// Normal fills x with values of mean 0 (Box and Muller's transform).
func (r *Random) Normal(x []float32, deviation float64) {
	for i := range x {
		radius := math.Sqrt(-2 * math.Log(1-r.Float()))
		x[i] = float32(deviation * radius * math.Cos(2*math.Pi*r.Float()))
	}
}
