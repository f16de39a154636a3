package eval

import (
	"math"
	"slices"

	"github.com/peftconv/peftconv/internal/logprobs"
)

// Figure is a mean with its standard error.
type Figure struct {
	Value float64 `json:"value"`
	Error float64 `json:"error"`
}

// Spread is the order of values.
type Spread struct {
	Min    float64 `json:"min"`
	P1     float64 `json:"p1"` // one in a hundred is less
	P5     float64 `json:"p5"`
	P10    float64 `json:"p10"`
	Median float64 `json:"median"`
	P90    float64 `json:"p90"`
	P95    float64 `json:"p95"`
	P99    float64 `json:"p99"`
	P999   float64 `json:"p99.9"`
	Max    float64 `json:"max"`
}

// Figures are what Divergence finds: those that llama-perplexity --kl-divergence prints.
type Figures struct {
	Tokens         int     `json:"tokens"`
	Perplexity     Figure  `json:"perplexity"`
	BasePerplexity Figure  `json:"base_perplexity"`
	Correlation    float64 `json:"correlation"` // of the logarithms of the two
	LogRatio       Figure  `json:"log_ratio"`   // the logarithm of Perplexity over BasePerplexity

	Divergence       Figure `json:"kl_divergence"` // KL(base ‖ model), natural logarithm
	DivergenceSpread Spread `json:"kl_divergence_spread"`

	Change       Figure `json:"delta_p"` // of the probability of the token that follows
	ChangeRMS    Figure `json:"delta_p_rms"`
	ChangeSpread Spread `json:"delta_p_spread"`

	SameTop Figure `json:"same_top"` // share of places whose likeliest token is the same
}

// moments are sums of a quantity and of its squares.
type moments struct{ sum, squares float64 }

func (m *moments) add(x float64) { m.sum, m.squares = m.sum+x, m.squares+x*x }

// mean is over n values. With ten or less nothing is known of its error.
func (m *moments) mean(n int) Figure {
	count := float64(n)
	f := Figure{Value: m.sum / count}
	if variance := m.squares/count - f.Value*f.Value; variance > 0 && n > 10 {
		f.Error = math.Sqrt(variance / (count - 1))
	}
	return f
}

// figuresOf makes the figures of all places of a text.
func figuresOf(places []logprobs.Comparison) *Figures {
	n := len(places)
	f := &Figures{Tokens: n}
	if n == 0 {
		return f
	}
	var loss, base, divergence, change, squares moments
	var both float64
	same := 0
	divergences, changes := make([]float32, n), make([]float32, n)
	for i := range places {
		c := &places[i]
		divergences[i], changes[i] = float32(c.Divergence), c.Change()
		loss.add(float64(c.Loss))
		base.add(float64(c.BaseLoss))
		both += float64(c.Loss * c.BaseLoss)
		divergence.add(c.Divergence)
		change.add(float64(changes[i]))
		squares.add(float64(changes[i]) * float64(changes[i]))
		if c.SameTop {
			same++
		}
	}
	f.setPerplexities(loss.mean(n), base.mean(n), both)
	f.Divergence, f.DivergenceSpread = divergence.mean(n), spread(divergences)
	f.Change, f.ChangeSpread = change.mean(n), spread(changes)
	square := squares.mean(n)
	if f.ChangeRMS.Value = math.Sqrt(square.Value); f.ChangeRMS.Value > 0 {
		f.ChangeRMS.Error = square.Error / (2 * f.ChangeRMS.Value)
	}
	f.SameTop.Value = float64(same) / float64(n)
	if n > 1 {
		f.SameTop.Error = math.Sqrt(f.SameTop.Value * (1 - f.SameTop.Value) / float64(n-1))
	}
	return f
}

// setPerplexities sets what follows from the mean losses and the sum of their products.
func (f *Figures) setPerplexities(loss, base Figure, both float64) {
	exp := func(x Figure) Figure { return Figure{math.Exp(x.Value), math.Exp(x.Value) * x.Error} }
	f.Perplexity, f.BasePerplexity = exp(loss), exp(base)
	covariance := 0.0
	if f.Tokens >= 10 {
		covariance = (both/float64(f.Tokens) - loss.Value*base.Value) / float64(f.Tokens-1)
	}
	if product := loss.Error * base.Error; product > 0 {
		f.Correlation = covariance / product
	}
	f.LogRatio.Value = loss.Value - base.Value
	f.LogRatio.Error = math.Sqrt(max(0, loss.Error*loss.Error+base.Error*base.Error-2*covariance))
}

// spread sorts values.
func spread(values []float32) Spread {
	slices.Sort(values)
	last := len(values) - 1
	at := func(fraction float32) float64 {
		p := fraction * float32(last)
		i := int(p)
		p -= float32(i)
		return float64((1-p)*values[i] + p*values[min(i+1, last)])
	}
	return Spread{Min: float64(values[0]), P1: at(0.01), P5: at(0.05), P10: at(0.1),
		Median: float64(0.5 * (values[len(values)/2] + values[last/2])), P90: at(0.9), P95: at(0.95), P99: at(0.99),
		P999: at(0.999), Max: float64(values[last])}
}
