package linalg

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/kernels"
)

func random(n int, seed uint64) []float64 {
	rng := rand.New(rand.NewPCG(seed, 1))
	x := make([]float64, n)
	for i := range x {
		x[i] = rng.NormFloat64()
	}
	return x
}

// times is a (m, k) · b (k, n).
func times[T Float](a, b []T, m, k, n int) []float64 {
	c := make([]float64, m*n)
	for i := range m {
		for l := range k {
			for j := range n {
				c[i*n+j] += float64(a[i*k+l]) * float64(b[l*n+j])
			}
		}
	}
	return c
}

// distance is the largest difference.
func distance[A, B Float](a []A, b []B) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	d := 0.0
	for i := range a {
		d = max(d, math.Abs(float64(a[i])-float64(b[i])))
	}
	return d
}

func near[A, B Float](t *testing.T, what string, got []A, want []B, tolerance float64) {
	t.Helper()
	if d := distance(got, want); !(d <= tolerance) {
		t.Errorf("%s: off by %g, want at most %g", what, d, tolerance)
	}
}

var shapes = [][2]int{{1, 1}, {5, 1}, {1, 5}, {7, 7}, {20, 6}, {6, 20}, {130, 33}, {40, 97}, {64, 64}}

func TestQR(t *testing.T) {
	for _, shape := range shapes {
		m, n := shape[0], shape[1]
		t.Run(fmt.Sprint(m, "x", n), func(t *testing.T) {
			a := random(m*n, 3)
			q, r := QR(a, m, n)
			k := min(m, n)
			near(t, "q·r", times(q, r, m, k, n), a, 1e-12)
			near(t, "qᵀ·q", times(Transpose(q, m, k), q, k, m, k), identity[float64](k), 1e-13)
			for i := range k {
				for j := range min(i, n) {
					if r[i*n+j] != 0 {
						t.Fatalf("r[%d,%d] = %g below the diagonal", i, j, r[i*n+j])
					}
				}
			}
		})
	}
}

// The signs are LAPACK's: of (3, 4)ᵀ, r is -5.
func TestQRSigns(t *testing.T) {
	q, r := QR([]float64{3, 1, 4, 2}, 2, 2)
	near(t, "q", q, []float64{-0.6, -0.8, -0.8, 0.6}, 1e-15)
	near(t, "r", r, []float64{-5, -2.2, 0, 0.4}, 1e-15)
	q, r = QR([]float64{2, 0, 0, 3}, 2, 2) // nothing to reflect: nothing is
	near(t, "q of a triangle", q, []float64{1, 0, 0, 1}, 0)
	near(t, "r of a triangle", r, []float64{2, 0, 0, 3}, 0)
}

func TestSVD(t *testing.T) {
	for _, shape := range shapes {
		m, n := shape[0], shape[1]
		t.Run(fmt.Sprint(m, "x", n), func(t *testing.T) { checkSVD(t, random(m*n, 5), m, n) })
	}
}

func checkSVD(t *testing.T, a []float64, m, n int) (s []float64) {
	t.Helper()
	u, s, vt := SVD(a, m, n)
	k := min(m, n)
	scaled := slices.Clone(u)
	for i := range scaled {
		scaled[i] *= s[i%k]
	}
	near(t, "u·s·vt", times(scaled, vt, m, k, n), a, 1e-12*max(1, norm(a)))
	near(t, "uᵀ·u", times(Transpose(u, m, k), u, k, m, k), identity[float64](k), 1e-12)
	near(t, "vt·v", times(vt, Transpose(vt, k, n), k, n, k), identity[float64](k), 1e-12)
	if !slices.IsSortedFunc(s, func(a, b float64) int { return int(math.Copysign(1, b-a)) }) && k > 1 {
		t.Errorf("singular values %v do not descend", s)
	}
	for j := range k {
		column := columns(u, m, k)[j*m : (j+1)*m]
		if signOf(column) <= 0 {
			t.Errorf("column %d of u begins with the wrong sign", j)
		}
	}
	return s
}

// Singular values that are known, from 1e3 down to 1e-9, and zeros.
func TestSVDKnown(t *testing.T) {
	const m, n = 30, 12
	want := []float64{1e3, 10, 9.999, 1, 1, 1e-3, 1e-6, 1e-9, 0, 0, 0, 0}
	q, _ := QR(random(m*n, 1), m, n)
	w, _ := QR(random(n*n, 2), n, n)
	for i := range q {
		q[i] *= want[i%n]
	}
	got := checkSVD(t, times(q, w, m, n, n), m, n)
	near(t, "singular values", got, want, 1e-12)
}

func TestSVDOfZero(t *testing.T) {
	near(t, "singular values", checkSVD2(t, 6, 4), make([]float64, 4), 0)
	near(t, "singular values", checkSVD2(t, 4, 6), make([]float64, 4), 0)
}

func checkSVD2(t *testing.T, m, n int) []float64 {
	u, s, _ := SVD(make([]float64, m*n), m, n)
	k := min(m, n)
	near(t, "uᵀ·u", times(Transpose(u, m, k), u, k, m, k), identity[float64](k), 1e-14)
	return s
}

// decaying is a matrix with singular values 1/(1+i)².
func decaying(m, n int) (a []float32, s []float64) {
	k := min(m, n)
	q, _ := QR(random(m*k, 7), m, k)
	w, _ := QR(random(n*k, 8), n, k)
	s = make([]float64, k)
	for i := range s {
		s[i] = 1 / float64((1+i)*(1+i))
	}
	for i := range q {
		q[i] *= s[i%k]
	}
	return convert[float32](times(q, Transpose(w, n, k), m, k, n)), s
}

func TestTruncatedSVD(t *testing.T) {
	for _, shape := range [][2]int{{300, 200}, {200, 300}, {300, 20}, {20, 300}} {
		m, n := shape[0], shape[1]
		a, want := decaying(m, n)
		const rank = 8
		u, s, vt := TruncatedSVD(Matrix(a, m, n), Projection{Rank: rank, Seed: 1})
		near(t, "singular values", s, want[:rank], 2e-6)
		near(t, "uᵀ·u", times(Transpose(u, m, rank), u, rank, m, rank), identity[float64](rank), 1e-5)
		near(t, "vt·v", times(vt, Transpose(vt, rank, n), rank, n, rank), identity[float64](rank), 1e-5)
		for i := range u {
			u[i] *= s[i%rank]
		}
		rest, lost := 0.0, 0.0
		for i, x := range times(u, vt, m, rank, n) {
			rest += (x - float64(a[i])) * (x - float64(a[i]))
		}
		for _, x := range want[rank:] {
			lost += x * x
		}
		if math.Sqrt(rest) > 1.001*math.Sqrt(lost)+1e-6 {
			t.Errorf("%dx%d: %g is left, the best of that rank leaves %g", m, n, math.Sqrt(rest), math.Sqrt(lost))
		}
	}
}

func TestTruncatedSVDAll(t *testing.T) {
	a, want := decaying(40, 150)
	u, s, vt := TruncatedSVD(Matrix(a, 40, 150), Projection{})
	near(t, "singular values", s, want, 1e-6)
	if len(u) != 40*40 || len(vt) != 40*150 {
		t.Errorf("u has %d elements, vt %d", len(u), len(vt))
	}
}

// The same bits on any number of threads.
func TestThreads(t *testing.T) {
	defer kernels.SetThreads(0)
	a, _ := decaying(400, 260)
	var first [][]float32
	for _, threads := range []int{1, 2, 3} {
		kernels.SetThreads(threads)
		u, s, vt := TruncatedSVD(Matrix(a, 400, 260), Projection{Rank: 20, Seed: 4})
		q, r := QR(a, 400, 260)
		u2, s2, vt2 := SVD(a[:108*260], 108, 260)
		all := [][]float32{u, s, vt, q, r, u2, s2, vt2}
		if first == nil {
			first = all
		}
		for i := range all {
			if !slices.Equal(all[i], first[i]) {
				t.Errorf("result %d differs on %d threads", i, threads)
			}
		}
	}
}

func TestOrthonormalizeDependent(t *testing.T) {
	v := []float32{3, 4, 0, 6, 8, 0, 0, 0, 2}
	Orthonormalize(v, 3)
	near(t, "vectors", v, []float32{0.6, 0.8, 0, 0, 0, 0, 0, 0, 1}, 1e-7)
}

func TestSolve(t *testing.T) {
	for _, n := range []int{1, 2, 5, 40} {
		a, want := random(n*n, 9), random(n*3, 10)
		got, err := Solve(a, times(a, want, n, n, 3), n, 3)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "x", got, want, 1e-9)
		inverse, err := Inverse(a, n)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "a·a⁻¹", times(a, inverse, n, n, n), identity[float64](n), 1e-9)
	}
}

func TestSolveExchangesRows(t *testing.T) {
	got, err := Solve([]float32{0, 1, 2, 0}, []float32{3, 4}, 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "x", got, []float32{2, 3}, 0)
}

func TestSolveSingular(t *testing.T) {
	for _, a := range [][]float64{{1, 2, 2, 4}, {0, 0, 0, 0}, {math.NaN(), 1, 1, 1}, {math.Inf(1), 1, 1, 1}} {
		if x, err := Inverse(a, 2); err != ErrSingular {
			t.Errorf("the inverse of %v is %v, %v", a, x, err)
		}
	}
}

func BenchmarkTruncatedSVD(b *testing.B) {
	const m, n = 2048, 5632
	a := convert[float32](random(m*n, 1))
	for b.Loop() {
		TruncatedSVD(Matrix(a, m, n), Projection{Rank: 16, Seed: 1})
	}
}
