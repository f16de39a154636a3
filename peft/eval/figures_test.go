package eval

import (
	"math"
	"testing"

	"github.com/peftconv/peftconv/internal/logprobs"
)

// TestFigures computes figures by hand.
func TestFigures(t *testing.T) {
	var places []logprobs.Comparison
	for i := range 101 {
		places = append(places, logprobs.Comparison{Divergence: float64(100 - i), Loss: 1, BaseLoss: 1, SameTop: i < 25})
	}
	places[0].Loss, places[1].Loss = 2, 0
	f := figuresOf(places)
	if f.Tokens != 101 || f.Divergence.Value != 50 || math.Abs(f.Divergence.Error-math.Sqrt(850)/10) > 1e-12 {
		t.Errorf("divergence %+v of %d", f.Divergence, f.Tokens)
	}
	want := Spread{Min: 0, P1: 1, P5: 5, P10: 10, Median: 50, P90: 90, P95: 95, P99: 99, P999: 99.9, Max: 100}
	got := f.DivergenceSpread
	for i, pair := range [][2]float64{{got.Min, want.Min}, {got.P1, want.P1}, {got.P5, want.P5}, {got.P10, want.P10},
		{got.Median, want.Median}, {got.P90, want.P90}, {got.P95, want.P95}, {got.P99, want.P99}, {got.P999, want.P999},
		{got.Max, want.Max}} {
		if math.Abs(pair[0]-pair[1]) > 1e-4 {
			t.Errorf("spread %+v, expected %+v (figure %d)", got, want, i)
		}
	}
	if math.Abs(f.Perplexity.Value-math.E) > 1e-12 || f.LogRatio.Value != 0 || f.BasePerplexity.Error != 0 {
		t.Errorf("perplexities %+v and %+v, ratio %+v", f.Perplexity, f.BasePerplexity, f.LogRatio)
	}
	if share := 25.0 / 101; f.SameTop.Value != share || math.Abs(f.SameTop.Error-math.Sqrt(share*(1-share)/100)) > 1e-12 {
		t.Errorf("same top %+v", f.SameTop)
	}
	if wide := figuresOf(places[:1]); wide.Divergence.Error != 0 || wide.SameTop.Error != 0 {
		t.Errorf("errors of one token: %+v", wide)
	}
}
