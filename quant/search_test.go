package quant

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/kernels"
)

func TestNearest(t *testing.T) {
	for _, c := range []struct {
		f    float32
		want int
	}{
		{0, 0}, {0.5, 0}, {1.5, 2}, {2.5, 2}, {-0.5, 0}, {-1.5, -2}, {0.49999997, 0}, {0.50000006, 1},
		{126.5, 126}, {127.5, 128}, {-128.4, -128}, {1<<22 - 1, 1<<22 - 1}, {-(1<<22 - 1), -(1<<22 - 1)},
		{float32(math.NaN()), 0}, {float32(math.Inf(1)), -1 << 22}, {float32(math.Inf(-1)), -1 << 22},
	} {
		if got := nearest(c.f); got != c.want {
			t.Errorf("nearest(%v) = %d, want %d", c.f, got, c.want)
		}
	}
}

func TestRoundHalfAway(t *testing.T) {
	check := func(f float32) {
		if got, want := roundHalfAway(f), int32(math.Round(float64(f))); got != want {
			t.Fatalf("roundHalfAway(%v) = %d, want %d", f, got, want)
		}
	}
	for i := range 600 {
		half := float32(i)/2 - 150
		bits := math.Float32bits(half)
		for d := range uint32(7) {
			if f := math.Float32frombits(bits + d - 3); f == f { // below 0 is NaN
				check(f)
			}
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 100000 {
		check(float32(r.NormFloat64() * 60))
	}
	for _, f := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 3e9} {
		if got := roundHalfAway(f); got != math.MinInt32 {
			t.Errorf("roundHalfAway(%v) = %d, want the least int32", f, got)
		}
	}
}

// Weights that are multiples of a step get that scale back, whatever their importance.
func TestFitFindsGrid(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	w, x, codes := make([]float32, 32), make([]float32, 32), make([]uint8, 32)
	for range 200 {
		scale, minimum := float32(math.Exp(r.NormFloat64())), float32(2*r.Float64())
		for i := range x {
			w[i] = float32(r.Float64() + 0.1)
			q := r.IntN(16)
			if i < 2 {
				q = 15 * i // the first and the last code are in use
			}
			x[i] = scale*float32(q) - minimum
		}
		s := affineSearch{top: 15, first: -0.9, step: 0.05, steps: 36}
		gotScale, gotMin := s.fit(codes, x, w)
		for i, l := range codes {
			if y := gotScale*float32(l) - gotMin; math.Abs(float64(y-x[i])) > 1e-4*float64(scale) {
				t.Fatalf("weight %v became %v (scale %v for %v, minimum %v for %v)",
					x[i], y, gotScale, scale, gotMin, minimum)
			}
		}
	}
}

func TestFitPositiveSkipsIgnored(t *testing.T) {
	x := []float32{1, 2, 3, 4, 5, 6, 7, 1e-3}
	w := []float32{1, 1, 1, 1, 1, 1, 1, 0}
	codes := make([]uint8, len(x))
	scale := fitPositive(codes, x, w, 7)
	for i := range 7 {
		if codes[i] != uint8(i+1) || scale != 1 {
			t.Fatalf("scale %v, codes %v: want 1 and the numbers themselves", scale, codes)
		}
	}
}

func TestSearchesOfNothing(t *testing.T) {
	var x, w [32]float32
	for _, tiny := range []float32{0, 1e-16, -1e-16, float32(math.NaN())} {
		for i := range x {
			x[i], w[i] = tiny, 1
		}
		codes := []uint8{31: 9}
		if s := fitSymmetric(codes, x[:], w[:], 8); s != 0 || codes[31] != 0 {
			t.Errorf("fitSymmetric of %v: scale %v, code %d, want 0 and 0", tiny, s, codes[31])
		}
	}
	codes := []uint8{31: 9}
	search := affineSearch{top: 15, first: -1, step: 0.1, steps: 20}
	for i := range x {
		x[i] = -2
	}
	if scale, minimum := search.fit(codes, x[:], w[:]); scale != 0 && minimum != 2 {
		t.Errorf("fit of a constant -2: scale %v, minimum %v", scale, minimum)
	}
}

// The points found for several scales side by side are those found one by one, with near points in lists of any length.
func TestSnapInLanes(t *testing.T) {
	for _, s := range []*latticeSearch{&searchIQ2_XXS, &searchIQ2_XS, &searchIQ2_S, &searchIQ3_XXS, &searchIQ3_S} {
		near := s.near()
		longest := make([]int, 0, len(near.place)) // numbers that are no point, those with the longest lists first
		for n, place := range near.place {
			if place < 0 {
				longest = append(longest, n)
			}
		}
		slices.SortStableFunc(longest, func(a, b int) int {
			return len(near.neighbours(near.place[b])) - len(near.neighbours(near.place[a]))
		})
		eachTier(t, func(t *testing.T) {
			if !haveLanes() {
				t.Skip("points are not searched in lanes here")
			}
			r := rand.New(rand.NewPCG(7, 8))
			p := new(kernels.PointTrials)
			for i := range 2000 {
				g := latticeGroup{n: s.size}
				n := longest[r.IntN(len(longest))]
				if i < 500 {
					n = longest[i%min(len(longest), 100)]
				}
				s.unspell(g.codes[:s.size], n)
				for j := range s.size {
					g.x[j] = float32(2*g.codes[j]+1) + float32(r.NormFloat64()*0.2)
					if i%3 == 0 {
						g.x[j] = float32(math.Round(float64(g.x[j]))) // levels and points that are equally near
					}
					g.root[j] = float32(r.IntN(4)) + float32(i%2)*r.Float32()
				}
				unit := float32(1)
				if i%5 == 0 { // errors that overflow or vanish
					unit = float32(math.Exp(100*r.Float64() - 50))
					weight := float32(math.Exp(40*r.Float64() - 20))
					for j := range s.size {
						g.x[j] *= unit
						g.root[j] *= weight
						if i%10 == 0 && r.IntN(2) == 0 { // what counts is far below the scale
							g.x[j] = 0
						} else if i%10 == 0 {
							g.root[j] = 0
						}
					}
				}
				s.compareSnaps(t, near, &g, p, unit)
			}
		})
	}
}

// compareSnaps compares the point of a group at all scales about unit.
func (s *latticeSearch) compareSnaps(
	t *testing.T, near *nearPoints, g *latticeGroup, p *kernels.PointTrials, unit float32,
) {
	t.Helper()
	trials := 2*s.tries + 1
	for i := range trials {
		p.Inverse[i] = s.trial(i-s.tries, unit*s.odd())
		p.Scale[i] = 1 / p.Inverse[i]
	}
	moved := s.snapInLanes(g, p, 0, trials)
	for i := range trials {
		s.take(g, p, 0, i)
		off := s.snap(near, g, &g.trial, 0, p.Inverse[i], p.Scale[i])
		if g.codes != g.trial || off != (moved>>i&1 != 0) {
			t.Fatalf("%d levels, scale %d of %d: got %v (moved: %v), want %v (%v), for %v, weights %v", s.radix, i, trials,
				g.codes[:s.size], moved>>i&1 != 0, g.trial[:s.size], off, g.x[:s.size], g.root[:s.size])
		}
	}
}
