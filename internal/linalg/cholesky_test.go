package linalg

import (
	"errors"
	"fmt"
	"math"
	"testing"
)

// definite is a positive definite matrix: xᵀ·x of a random x, and something on the diagonal.
func definite(n int) []float32 {
	x := random(2*n*n, 11)
	a := make([]float32, n*n)
	for i := range n {
		for j := range n {
			var sum float64
			for l := range 2 * n {
				sum += x[l*n+i] * x[l*n+j]
			}
			a[i*n+j] = float32(sum / float64(n))
		}
		a[i*n+i] += 0.1
	}
	return a
}

func TestCholesky(t *testing.T) {
	for _, n := range []int{1, 2, 7, 63, 64, 65, 130, 333} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			a := definite(n)
			l := make([]float32, n*n)
			for i := range l { // what is above the diagonal is neither read nor written
				if l[i] = a[i]; i/n < i%n {
					l[i] = 1e30
				}
			}
			if err := Cholesky(l, n); err != nil {
				t.Fatal(err)
			}
			for i := range n {
				for j := i + 1; j < n; j++ {
					if l[i*n+j] != 1e30 {
						t.Fatalf("element (%d, %d) was written", i, j)
					}
					l[i*n+j] = 0
				}
			}
			near(t, "l·lᵀ", times(l, Transpose(l, n, n), n, n, n), a, 2e-5)
		})
	}
}

func TestCholeskyRefuses(t *testing.T) {
	for name, spoil := range map[string]func(a []float32){
		"zero":          func(a []float32) { a[0] = 0 },
		"negative":      func(a []float32) { a[99*100+99] = -1 },
		"not a number":  func(a []float32) { a[70*100+70] = float32(math.NaN()) },
		"infinite":      func(a []float32) { a[5*100+5] = float32(math.Inf(1)) },
		"of lower rank": func(a []float32) { clear(a[80*100 : 81*100]) },
	} {
		a := definite(100)
		if spoil(a); !errors.Is(Cholesky(a, 100), ErrNotPositive) {
			t.Errorf("%s: factored", name)
		}
	}
}

func BenchmarkCholesky(b *testing.B) {
	for _, n := range []int{512, 2048} {
		a, x := make([]float32, n*n), make([]float32, n*n)
		for i := range n {
			for j := range i + 1 {
				a[i*n+j] = 1 / float32(1+i-j)
			}
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				copy(x, a)
				if err := Cholesky(x, n); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
