package quant

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/gguf"
)

var pointTypes = []gguf.Type{gguf.IQ1_S, gguf.IQ1_M, gguf.IQ2_XXS, gguf.IQ2_XS, gguf.IQ2_S, gguf.IQ3_XXS, gguf.IQ3_S}

// randomBlocks are blocks of a type made of random weights.
func randomBlocks(t gguf.Type, n int, r *rand.Rand) (blocks []byte, x []float32) {
	x, importance := make([]float32, n), make([]float32, n)
	for i := range x {
		x[i], importance[i] = float32(r.NormFloat64()), 1+r.Float32()
	}
	m := Matrix{Type: t, Rows: 1, Cols: n}
	blocks = make([]byte, m.RowSize())
	Quantize(t, blocks, x, n, importance)
	return blocks, x
}

// TestPointsAreReadAndWritten: what is read from blocks gives their weights, and written back their bytes.
func TestPointsAreReadAndWritten(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, typ := range pointTypes {
		blocks, _ := randomBlocks(typ, 512, r)
		weights := make([]float32, 512)
		Dequantize(typ, weights, blocks)
		var p Points
		again := slices.Clone(blocks)
		p.Load(typ, again)
		for i := range 512 / PointLen {
			p.at, p.factor = i, p.scale[i*PointLen/p.group]
			b, at := p.block()
			place, signs := p.kind.get(b, at)
			for j, v := range p.values(&pointChoice{place: place, signs: signs}) {
				if want := weights[i*PointLen+j]; absf(v*p.factor-want) > 1e-6*absf(want) {
					t.Fatalf("%v: weight %d is %v, expected %v", typ, i*PointLen+j, v*p.factor, want)
				}
			}
			p.kind.set(b, at, [2]uint16{}, 0)
			p.kind.set(b, at, place, signs)
		}
		if !slices.Equal(again, blocks) {
			t.Errorf("%v: written back, the blocks have other bytes", typ)
		}
	}
}

// choose goes through the steps of a search with the errors computed one by one.
func choose(p *Points, typ gguf.Type) {
	features, n := PointFeatures(typ)
	coefficients, errors := make([]float32, n), make([]float32, len(features)/n)
	for round := range 2 {
		for half := range p.Halves() {
			if round > 0 && p.Halves() == 1 {
				return
			}
			for c := range p.Candidates() {
				p.CoefficientsTo(coefficients, c, half)
				for i := range errors {
					errors[i] = 0
					for j, x := range coefficients {
						errors[i] += x * features[i*n+j]
					}
				}
				p.Choose(errors, c, half)
			}
		}
	}
}

// TestPointsImprove: weights with a random form of the error get points whose error has fallen by what is said, and
// with a form that does not mix weights the best of all points or, where signs depend on each other, one that is not
// much worse.
func TestPointsImprove(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, typ := range pointTypes {
		moved := 0
		for trial := range 30 {
			blocks, x := randomBlocks(typ, 256, r)
			mixed := trial%2 == 0
			h := make([]float32, PointLen*PointLen)
			for i := range PointLen {
				for j := range PointLen {
					if mixed && i != j {
						h[i*PointLen+j] = 0.5
					}
				}
				h[i*PointLen+i] = 2
			}
			at := trial % 32
			before, after, target := make([]float32, 256), make([]float32, 256), make([]float32, PointLen)
			Dequantize(typ, before, blocks)
			for i := range target {
				target[i] = x[at*PointLen+i] + 0.3*float32(r.NormFloat64())
			}
			form := func(weights []float32) (sum float64) {
				for i := range PointLen {
					for j := range PointLen {
						sum += float64(weights[i]-target[i]) * float64(h[i*PointLen+j]) * float64(weights[j]-target[j])
					}
				}
				return sum
			}
			now := before[at*PointLen:][:PointLen]
			slope := make([]float32, PointLen)
			for i := range slope {
				for j := range slope {
					slope[i] += h[i*PointLen+j] * (target[j] - now[j])
				}
			}
			var p Points
			var move PointMove
			p.Load(typ, blocks)
			p.Begin(at, now, slope, h, PointLen)
			choose(&p, typ)
			changed := p.End(&move)
			Dequantize(typ, after, blocks)
			was, is := form(now), form(after[at*PointLen:][:PointLen])
			if fall := was - is; absf(float32(fall)-move.Fall) > 1e-3*float32(was+is) {
				t.Errorf("%v: the error falls by %v, said to fall by %v", typ, fall, move.Fall)
			}
			for i := range before {
				want := before[i]
				if changed && i/PointLen == at {
					want += move.By[i%PointLen]
				}
				if absf(after[i]-want) > 1e-5 {
					t.Errorf("%v: weight %d is %v, expected %v", typ, i, after[i], want)
				}
			}
			if changed {
				moved++
			}
			if !mixed && typ != gguf.IQ3_S && typ != gguf.IQ3_XXS {
				most := 1.0001 // signs that depend on each other are not all tried
				if p.kind.even {
					most = 1.1
				}
				if best := bestOfAll(&p, target, typ); is > best*most+1e-6 {
					t.Errorf("%v: error %v, but there is a point with %v", typ, is, best)
				}
			}
		}
		if moved < 10 {
			t.Errorf("%v: only %d of 30 have changed", typ, moved)
		}
	}
}

// bestOfAll is the least squared error times 2 of all points and signs of eight weights.
func bestOfAll(p *Points, target []float32, typ gguf.Type) float64 {
	b, at := p.block()
	_, signs := p.kind.get(b, at)
	least := float64(greatestFloat)
	for place := range p.kind.points {
		for s := range 256 {
			try := uint8(s)
			switch {
			case typ == gguf.IQ1_S && try != signs, typ == gguf.IQ1_M && s > 1,
				p.kind.even && evenSigns[s&127] != highBits(try):
				continue
			}
			sum := 0.0
			for i, v := range p.values(&pointChoice{place: [2]uint16{uint16(place)}, signs: try}) {
				d := float64(v*p.factor - target[i])
				sum += 2 * d * d
			}
			least = min(least, sum)
		}
	}
	return least
}
