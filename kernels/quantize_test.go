package kernels

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
)

// extremeFloats mixes what rounding and comparing could trip over among n ordinary numbers.
func extremeFloats(n int, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 31))
	x := randoms(n, seed)
	for range n / 8 {
		x[r.IntN(n)] = [...]float32{0, float32(math.Copysign(0, -1)), 0.5, -1.5, 2.5, 1 << 22, -1 << 23, 1e30, -1e38, 1e-40,
			float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32}[r.IntN(13)]
	}
	return x
}

func TestGroupLevels(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, n := range []int{16, 32} {
			for groups := range 18 {
				x := extremeFloats(groups*n, uint64(groups))
				a, b := randoms(groups, 3), randoms(groups, 4)
				got, want := make([]uint8, len(x)), make([]uint8, len(x))
				DivideLevels(got, x, n, a, b, -32, 31)
				divideLevelsGeneric(want, x, n, a, b, -32, 31)
				if !bytes.Equal(got, want) {
					t.Fatalf("DivideLevels of %d groups of %d: got %v, want %v", groups, n, got, want)
				}
				MultiplyLevels(got, x, n, a, b, 0, 15)
				multiplyLevelsGeneric(want, x, n, a, b, 0, 15)
				if !bytes.Equal(got, want) {
					t.Fatalf("MultiplyLevels of %d groups of %d: got %v, want %v", groups, n, got, want)
				}
			}
		}
	})
}

func TestErrorWeights(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for n := 0; n < 100; n += blockLen {
			x, importance := extremeFloats(n, 5), randoms(n, 6)
			got, check := guarded(t, make([]float32, n))
			want := make([]float32, n)
			ErrorWeights(got, x, importance, 0.25)
			errorWeightsGeneric(want, x, importance, 0.25)
			for i := range want {
				if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
					t.Fatalf("element %d of %d: got %v, want %v", i, n, got[i], want[i])
				}
			}
			check()
		}
	})
}

func TestUseTier(t *testing.T) {
	was := current
	defer func() { current = was }()
	for _, name := range Tiers() {
		before := Tier()
		if got := UseTier(name); got != before || Tier() != name {
			t.Errorf("UseTier(%q) returned %q on %q and left %q", name, got, before, Tier())
		}
	}
}
