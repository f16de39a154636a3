package generate

import (
	"math"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/prng"
)

func TestSamplerGreedy(t *testing.T) {
	s := newSampler(Options{})
	for _, test := range []struct {
		logits []float32
		want   int32
	}{
		{[]float32{1, 3, 2}, 1}, {[]float32{3, 3, 2}, 0}, {[]float32{-5}, 0}, {[]float32{float32(math.Inf(-1)), -1}, 1},
	} {
		if got, err := s.next(test.logits); err != nil || got != test.want {
			t.Errorf("of %v it took %d, %v, expected %d", test.logits, got, err, test.want)
		}
	}
	if _, err := s.next([]float32{1, float32(math.NaN())}); err == nil {
		t.Error("a NaN was taken")
	}
}

// TestSamplerCut looks at which tokens are left: probabilities are 0.6, 0.3, 0.1 for ids 2, 0, 1.
func TestSamplerCut(t *testing.T) {
	logits := []float32{float32(math.Log(0.3)), float32(math.Log(0.1)), float32(math.Log(0.6))}
	for _, test := range []struct {
		topK int
		topP float64
		want []int32
	}{
		{0, 0, []int32{2, 0, 1}}, {2, 0, []int32{2, 0}}, {0, 0.5, []int32{2}},
		{0, 0.61, []int32{2, 0}}, {0, 0.95, []int32{2, 0, 1}},
		{2, 0.7, []int32{2, 0}}, {2, 0.65, []int32{2}}, {9, 1, []int32{2, 0, 1}},
	} {
		s := newSampler(Options{Temperature: 1, TopK: test.topK, TopP: test.topP})
		var got []int32
		for _, c := range s.cut(logits) {
			got = append(got, c.id)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("top-k %d, top-p %v leave %v, expected %v", test.topK, test.topP, got, test.want)
		}
	}
}

// TestSamplerDraws counts what is drawn at two temperatures.
func TestSamplerDraws(t *testing.T) {
	logits := []float32{float32(math.Log(0.3)), float32(math.Log(0.1)), float32(math.Log(0.6))}
	for temperature, want := range map[float64][]float64{
		1:   {0.3, 0.1, 0.6},
		0.5: {0.09 / 0.46, 0.01 / 0.46, 0.36 / 0.46},
	} {
		s := newSampler(Options{Temperature: temperature, Seed: 3})
		const n = 20_000
		var count [3]int
		for range n {
			id, err := s.next(logits)
			if err != nil {
				t.Fatal(err)
			}
			count[id]++
		}
		for id, p := range want {
			if got := float64(count[id]) / n; math.Abs(got-p) > 0.015 {
				t.Errorf("temperature %v: token %d was drawn with %v, expected %v", temperature, id, got, p)
			}
		}
	}
}

// TestSamplerTopK compares the likeliest of many with what sorting all gives; many are equally likely.
func TestSamplerTopK(t *testing.T) {
	random := prng.NewRandom(5, "top-k")
	logits := make([]float32, 1000)
	for range 50 {
		var all []candidate
		for i := range logits {
			logits[i] = float32(random.Next() % 60)
			all = append(all, candidate{id: int32(i), logit: logits[i]})
		}
		slices.SortFunc(all, candidate.compare)
		for _, k := range []int{1, 2, 40, 999, 1000, 1001} {
			s := newSampler(Options{Temperature: 1, TopK: k})
			got := s.cut(logits)
			if want := all[:min(k, len(all))]; !slices.Equal(got, want) {
				t.Fatalf("top %d: %v, want %v", k, got, want)
			}
		}
	}
}

func BenchmarkSampler(b *testing.B) {
	random := prng.NewRandom(6, "benchmark")
	logits := make([]float32, 128_256)
	for i := range logits {
		logits[i] = float32(10 * random.Float())
	}
	s := newSampler(Options{Temperature: 0.8, TopK: 40, TopP: 0.95})
	for b.Loop() {
		if _, err := s.next(logits); err != nil {
			b.Fatal(err)
		}
	}
}
