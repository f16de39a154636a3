package methods

import (
	"math"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/prng"
)

// TestRankAllocator follows importance and allocation for two steps with numbers that can be followed by hand.
func TestRankAllocator(t *testing.T) {
	total := 3
	s := newAdaLoRASettings()
	s.Target, s.Start, s.Total, s.Final, s.Beta1, s.Beta2 = 1, 2, &total, 2, 0.5, 0.5
	site := &adaloraSite{
		A: autograd.NewParam(2, 2, []float32{1, 1, 2, 2}, []float32{1, 3, 0, 1}),
		B: autograd.NewParam(1, 2, []float32{1, 1}, []float32{0, 2}),
		E: autograd.NewParam(2, 1, []float32{1, 1}, []float32{4, 0}),
	}
	at := &adaloraAttachment{Settings: s, Order: []*adaloraSite{site}}
	at.Allocator = newRankAllocator(at)
	at.stepped(1, 3)
	// |v·g| is 1 3, 0 2; 0 2; 4 0; importance half of that, and uncertainty half of their difference: a quarter.
	if want := []float32{0.5, 1.5, 0, 1, 0, 1, 2, 0}; !slices.Equal(at.Allocator.Importance, want) {
		t.Errorf("importance is %v, expected %v", at.Allocator.Importance, want)
	}
	if want := []float32{0.25, 0.75, 0, 0.5, 0, 0.5, 1, 0}; !slices.Equal(at.Allocator.Uncertainty, want) {
		t.Errorf("uncertainty is %v, expected %v", at.Allocator.Uncertainty, want)
	}
	// The first triplet has (0.125 + 1.125)/2 + 0 + 2, the second (0 + 0.5)/2 + 0.5 + 0.
	if got := at.Allocator.Scores(); !slices.Equal(got, []float64{2.625, 0.75}) {
		t.Errorf("the scores are %v", got)
	}
	at.stepped(2, 3) // the last allocation
	if !slices.Equal(at.Allocator.Kept, []float32{1, 0}) || !slices.Equal(site.E.Data, []float32{1, 0}) {
		t.Errorf("kept are %v, singular values %v", at.Allocator.Kept, site.E.Data)
	}
	site.E.Data[1] = 5
	at.stepped(3, 3)
	if site.E.Data[1] != 0 {
		t.Error("a rank that was taken away came back")
	}
}

// TestOrthogonalGradient compares the gradient of the term that keeps ranks orthogonal with differences.
func TestOrthogonalGradient(t *testing.T) {
	for _, transposed := range []bool{false, true} {
		shape := [2]int{3, 5}
		if transposed {
			shape = [2]int{5, 3}
		}
		p := autograd.NewParam(shape[0], shape[1], make([]float32, 15), make([]float32, 15))
		prng.NewRandom(1, "p").Normal(p.Data, 0.7)
		addOrthogonalGrad(p, 0.3, transposed)
		for i := range p.Data {
			const h = 1e-3
			old := p.Data[i]
			p.Data[i] = old + h
			up := distanceFromOrthonormal(p, transposed)
			p.Data[i] = old - h
			down := distanceFromOrthonormal(p, transposed)
			p.Data[i] = old
			if want := 0.3 * (up - down) / (2 * h); math.Abs(want-float64(p.Grad[i])) > 2e-3 {
				t.Errorf("transposed %v: gradient %d is %g, expected %g", transposed, i, p.Grad[i], want)
			}
		}
	}
}

// distanceFromOrthonormal is ‖P·Pᵀ - I‖, or ‖Pᵀ·P - I‖.
func distanceFromOrthonormal(p *autograd.Tensor, transposed bool) float64 {
	at, n, k := func(i, j int) float64 { return float64(p.Data[i*p.Cols+j]) }, p.Rows, p.Cols
	if transposed {
		at, n, k = func(i, j int) float64 { return float64(p.Data[j*p.Cols+i]) }, p.Cols, p.Rows
	}
	sum := 0.0
	for i := range n {
		for j := range n {
			dot := 0.0
			if i == j {
				dot = -1
			}
			for c := range k {
				dot += at(i, c) * at(j, c)
			}
			sum += dot * dot
		}
	}
	return math.Sqrt(sum)
}
