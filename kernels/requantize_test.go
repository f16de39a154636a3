package kernels

import (
	"bytes"
	"math"
	"testing"
)

func sameFloats(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) && !(got[i] != got[i] && want[i] != want[i]) {
			t.Fatalf("%s: element %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

func TestRoundLevels(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, n := range []int{16, 32, 64} {
			for groups := range 12 {
				change, up, inverse := extremeFloats(groups*n, 3), make([]float32, groups*n), randoms(groups, 4)
				Thresholds(up, uint64(n))
				for i := range change {
					if i%5 > 0 {
						change[i] *= 7
					}
				}
				got, want := make([]uint8, len(up)), make([]uint8, len(up))
				for i := range got {
					got[i] = uint8(i * 7 % 64)
				}
				copy(want, got)
				from, top := float32(-31*(groups%2)), 63+192*(groups%3/2)
				RoundLevels(got, change, n, inverse, up, from, top)
				roundLevelsGeneric(want, change, n, inverse, up, from, top)
				if !bytes.Equal(got, want) {
					t.Fatalf("%d groups of %d: got %v, want %v", groups, n, got, want)
				}
			}
		}
	})
}

func TestThresholds(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 4, 31, 32, 64, 100, 2048} {
			got, check := guarded(t, make([]float32, n))
			want := make([]float32, n)
			Thresholds(got, 0xfedcba9876543210+uint64(n))
			thresholdsGeneric(want, 0xfedcba9876543210+uint64(n))
			sameFloats(t, "Thresholds", got, want)
			check()
		}
	})
}

// testLevels are those of Q4_K, Q6_K and of nibbles that stand for odd halves.
var testLevels = []ScaleLevels{{0, 63, 1, 0, 1}, {-128, 127, 1, 0, 1}, {0, 15, 0.25, 0.125, 4}}

// code is the code nearest to v, the lowest of what is no number.
func (l *ScaleLevels) code(v float32) float32 {
	f := float32((v - l.First) * l.PerStep)
	if !(f > l.Lo) {
		f = l.Lo
	}
	if f > l.Hi {
		f = l.Hi
	}
	return float32(math.RoundToEven(float64(f))) + 0 // no negative zero
}

func (l *ScaleLevels) level(code float32) float32 { return float32(code*l.Step) + l.First }

// scalePairsGeneric is ScalePairs.Fit.
func scalePairsGeneric(p *ScalePairs, n int, l *ScaleLevels, scale, mean, spread, low *SubScales) {
	p.Sum = [8]float32{}
	for i := range n {
		for b := range p.Sum {
			least := float32(math.MaxFloat32)
			p.ScaleCode[i][b], p.MinimumCode[i][b] = 0, 0
			middle := l.code(float32(scale[i][b] * p.Inverse[b]))
			for code := max(middle-1, l.Lo); code <= min(middle+1, l.Hi); code++ {
				miss := scale[i][b] - float32(p.Factor[b]*l.level(code))
				want := low[i][b] - float32(miss*mean[i][b])
				m := l.code(float32(want * p.InverseMin[b]))
				off := want - float32(p.FactorMin[b]*l.level(m))
				e := float32(float32(miss*miss)*spread[i][b]) + float32(off*off)
				if e < least {
					least, p.ScaleCode[i][b], p.MinimumCode[i][b] = e, code, m
				}
			}
			p.Sum[b] += least
		}
	}
}

func TestScalePairs(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for i := range testLevels {
			for seed := range uint64(40) {
				n, x := int(seed)%17, randoms(4*16*8, seed)
				if seed%2 == 1 {
					x = extremeFloats(4*16*8, seed)
				}
				var scale, mean, spread, low SubScales
				for k := range n {
					for b := range 8 {
						v := x[4*(8*k+b):]
						scale[k][b], mean[k][b], spread[k][b], low[k][b] = 40*v[0], 15*v[1], v[2], v[3]
					}
				}
				var got ScalePairs
				for b := range 8 {
					got.Factor[b], got.FactorMin[b] = 0.3+float32(b)/16, 0.05
					got.Inverse[b], got.InverseMin[b] = 1/got.Factor[b], 20
				}
				want := got
				if !got.Fit(n, &testLevels[i], &scale, &mean, &spread, &low) {
					continue
				}
				scalePairsGeneric(&want, n, &testLevels[i], &scale, &mean, &spread, &low)
				sameFloats(t, "sums", got.Sum[:], want.Sum[:])
				for k := range n {
					sameFloats(t, "scale codes", got.ScaleCode[k][:], want.ScaleCode[k][:])
					sameFloats(t, "minimum codes", got.MinimumCode[k][:], want.MinimumCode[k][:])
				}
			}
		}
	})
}

// scaleFitsGeneric is ScaleFits.Fit.
func scaleFitsGeneric(f *ScaleFits, n int, l *ScaleLevels, ends []float32) {
	for b := range f.Factor {
		misfit := func(d float32, code func(i int) float32) (sum float32) {
			for i := range n {
				e := f.Want[i][b] - float32(d*l.level(code(i)))
				sum += float32(f.Weight[i][b] * float32(e*e))
			}
			return sum
		}
		refit := func(d float32) float32 {
			var num, den float32
			for i := range n {
				w, level := f.Weight[i][b], l.level(f.Code[i][b])
				num += float32(float32(w*f.Want[i][b]) * level)
				den += float32(float32(w*level) * level)
			}
			if den == 0 {
				return d
			}
			return clampedHalf(num / den)
		}
		nearest := func(d float32) func(i int) float32 {
			var inverse float32
			if d != 0 {
				inverse = 1 / d
			}
			return func(i int) float32 { return l.code(float32(f.Want[i][b] * inverse)) }
		}
		best := f.Factor[b]
		least, chosen := misfit(best, func(i int) float32 { return f.Code[i][b] }), false
		try := func(d float32) {
			if d == 0 || d-d != 0 {
				return
			}
			if e := misfit(d, nearest(d)); e < least {
				best, least, chosen = d, e, true
			}
		}
		assign := func() {
			code := nearest(best)
			for i := 0; i < n && chosen; i++ {
				f.Code[i][b] = code(i)
			}
			chosen = false
		}
		var top float32
		for i := range n {
			if v := f.Want[i][b]; abs(v) > abs(top) {
				top = v
			}
		}
		d := refit(best)
		try(best)
		try(d)
		for _, end := range ends {
			try(clampedHalf(top / end))
		}
		assign()
		try(refit(best))
		assign()
		f.Factor[b] = best
	}
}

// clampedHalf is the half precision number nearest to f, at most the largest one.
func clampedHalf(f float32) float32 { return halfOf(min(max(f, -65504), 65504)) }

func TestScaleFits(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for i := range testLevels {
			for seed := range uint64(60) {
				l, n := &testLevels[i], 1+int(seed)%16
				x := randoms(3*16*8, seed)
				if seed%3 == 1 {
					x = extremeFloats(3*16*8, seed)
				}
				var got ScaleFits
				for k := range n {
					for b := range 8 {
						v := x[3*(8*k+b):]
						got.Want[k][b], got.Weight[k][b], got.Code[k][b] = v[0], abs(v[1]), l.code(63*v[2])
						if b == 7 {
							got.Code[k][b] = 0 // no factor is better than another for them
						}
						if b == 6 {
							got.Want[k][b] = 0
						}
					}
				}
				for b := range 8 {
					got.Factor[b] = halfOf(x[3*b] / 8)
				}
				if seed%3 == 2 { // wanted is nearly what there is
					for k := range n {
						for b := range 8 {
							got.Want[k][b] = got.Factor[b]*l.level(got.Code[k][b]) + 0.01*got.Want[k][b]
						}
					}
				}
				want := got
				ends := []float32{l.level(l.Hi), l.level(l.Hi - 1), l.level(l.Lo)}
				if !got.Fit(n, l, ends) {
					continue
				}
				scaleFitsGeneric(&want, n, l, ends)
				sameFloats(t, "factors", got.Factor[:], want.Factor[:])
				for k := range n {
					sameFloats(t, "codes", got.Code[k][:], want.Code[k][:])
				}
			}
		}
	})
}

func TestLaneMoments(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, n := range []int{16, 32} {
			for count := 1; count < 20; count++ {
				old, change := randoms(count*n, 9), randoms(count*n, 10)
				m := &LaneMoments{Offset: [MomentLanes]float32(randoms(MomentLanes, 11))}
				groups := m.Measure(old, change, n)
				if groups != min(count, vectorLanes()) {
					t.Fatalf("%d of %d groups", groups, count)
				}
				for g := range groups {
					var sums [4]float64
					for i := g * n; i < (g+1)*n; i++ {
						p, d := float64(old[i]-m.Offset[g]), float64(change[i])
						sums[0] += p
						sums[1] += float64(p * p)
						sums[2] += d
						sums[3] += float64(p * d)
					}
					for k, want := range sums {
						if got := m.Sums[k][g]; got != want {
							t.Fatalf("group %d of %d, sum %d: got %v, want %v", g, groups, k, got, want)
						}
					}
				}
			}
		}
	})
}

func TestChangeSums(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 7, 8, 15, 16, 100, 2048} {
			old, change, now := randoms(n, 12), randoms(n, 13), randoms(n, 14)
			var sums, want [3][8]float64
			changeSumsGeneric(old, change, now, &want)
			if whole := n &^ 7; changeSums(old[:whole], change[:whole], now[:whole], &sums) {
				changeSumsGeneric(old[whole:], change[whole:], now[whole:], &sums)
				if sums != want {
					t.Fatalf("%d elements: got %v, want %v", n, sums, want)
				}
			}
			asked, kept, missed := ChangeSums(old, change, now)
			var plain [3]float64
			for i, d := range change {
				made, d := float64(now[i])-float64(old[i]), float64(d)
				plain[0], plain[1], plain[2] = plain[0]+d*d, plain[1]+made*d, plain[2]+(made-d)*(made-d)
			}
			for i, got := range []float64{asked, kept, missed} {
				if math.Abs(got-plain[i]) > 1e-12*float64(n) {
					t.Errorf("%d elements, sum %d: got %v, want %v", n, i, got, plain[i])
				}
			}
		}
	})
}

func TestCombine(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, n := range []int{0, 16, 48, 128, 144, 512} {
			for _, rows := range []int{0, 1, 16, 17} {
				y, x, factor := randoms(n, 15), randoms(rows*(n+5), 16), randoms(rows, 17)
				got, check := guarded(t, y)
				if !Combine(got, factor, x, n+5) {
					continue
				}
				for k, f := range factor {
					Axpy(f, x[k*(n+5):][:n], y)
				}
				sameFloats(t, "Combine", got, y)
				check()
			}
		}
	})
}

func TestLevelSums(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, n := range []int{16, 32, 256} {
			for groups := range 17 {
				level := make([]uint8, groups*n)
				for i := range level {
					level[i] = uint8(i*i*7 + i)
				}
				got, want := make([][2]int32, groups), make([][2]int32, groups)
				LevelSums(got, level, n)
				levelSumsGeneric(want, level, n)
				for i := range want {
					if got[i] != want[i] {
						t.Fatalf("group %d of %d: got %v, want %v", i, n, got[i], want[i])
					}
				}
			}
		}
	})
}
