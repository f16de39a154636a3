package linalg

import (
	"math"
	"slices"
)

// maxSweeps is far more than Jacobi's method needs.
const maxSweeps = 60

// SVD factors a (m, n) into u (m, k), s (k) and vt (k, n), a = u·diag(s)·vt with
// k = min(m, n): the columns of u and the rows of vt are orthonormal, and the
// singular values descend. The element of largest magnitude in each column of u
// is positive. Singular values of a matrix that is not finite are NaN.
//
// It is QR and then one-sided Jacobi on the triangle (Drmač and Veselić, SIAM J.
// Matrix Anal. Appl. 29, 2008): accurate to the last singular value. The work
// grows with max(m, n)·k²; for the largest singular values of a large matrix,
// see TruncatedSVD.
func SVD[T Float](a []T, m, n int) (u, s, vt []T) {
	check(len(a) == m*n, "SVD of a matrix of another size")
	left, values, right := svd(columns(a, m, n), m, n)
	return rowsOf[T](left, m, len(values)), convert[T](values), convert[T](right)
}

// svd takes and gives columns: of a, and of u and v.
func svd(c []float64, m, n int) (u, s, v []float64) {
	if m < n {
		v, s, u = svd(Transpose(c, n, m), n, m)
		orient(u, v, len(s))
		return u, s, v
	}
	c = slices.Clone(c)
	tau := householder(c, m, n)
	lower := make([]float64, n*n) // the columns of rᵀ: its rows
	for j := range n {
		for i := range j + 1 {
			lower[i*n+j] = c[j*m+i]
		}
	}
	q := reflections(c, tau, m, n)
	s, small, v := jacobi(lower, n)
	u = combine(q, small, m, n)
	orient(u, v, n)
	return u, s, v
}

// combine is the n columns of q, of m elements, multiplied by the matrix with the columns w.
func combine(q, w []float64, m, n int) []float64 {
	u := make([]float64, n*m)
	parallel(n, n*m, func(j int) {
		for i := range n {
			axpy(w[j*n+i], q[i*m:(i+1)*m], u[j*m:(j+1)*m])
		}
	})
	return u
}

// jacobi rotates the n columns of x, of n elements, until they are orthogonal:
// x·w = v·diag(s). So xᵀ = w·diag(s)·vᵀ. Columns in descending order of s.
func jacobi(x []float64, n int) (s, w, v []float64) {
	w = identity[float64](n)
	players := n + n%2
	turned := make([]bool, players/2)
	for range maxSweeps {
		again := false
		for round := range players - 1 {
			parallel(players/2, 3*n, func(i int) { turned[i] = rotatePair(x, w, n, pair(i, round, players)) })
			again = again || slices.Contains(turned, true)
		}
		if !again {
			break
		}
	}
	return sortColumns(x, w, n)
}

// pair is the i-th pair of a round of a tournament: all pairs of a round are disjoint, and every two players
// meet once in players-1 rounds.
func pair(i, round, players int) [2]int {
	place := func(p int) int {
		if p == 0 {
			return players - 1
		}
		return (p - 1 + round) % (players - 1)
	}
	a, b := place(i), place(players-1-i)
	return [2]int{min(a, b), max(a, b)}
}

// rotatePair makes two columns of x orthogonal; w gets the same rotation. It reports whether they were not orthogonal.
func rotatePair(x, w []float64, n int, p [2]int) bool {
	if p[1] >= n {
		return false
	}
	a, b := x[p[0]*n:(p[0]+1)*n], x[p[1]*n:(p[1]+1)*n]
	na, nb, ab := dot(a, a), dot(b, b), dot(a, b)
	if !(math.Abs(ab) > tolerance(n)*math.Sqrt(na)*math.Sqrt(nb)) {
		return false
	}
	zeta := (nb - na) / (2 * ab)
	t := math.Copysign(1, zeta) / (math.Abs(zeta) + math.Hypot(1, zeta))
	cos := 1 / math.Hypot(1, t)
	rotate(a, b, cos, cos*t)
	rotate(w[p[0]*n:(p[0]+1)*n], w[p[1]*n:(p[1]+1)*n], cos, cos*t)
	return true
}

// tolerance is the cosine at which vectors of n elements count as orthogonal: what rounding leaves.
func tolerance(n int) float64 { return 2.3e-16 * max(10, math.Sqrt(float64(n))) }

func rotate(a, b []float64, cos, sin float64) {
	b = b[:len(a)]
	for i, x := range a {
		y := b[i]
		a[i], b[i] = cos*x-sin*y, sin*x+cos*y
	}
}

// sortColumns splits orthogonal columns into their norms and directions.
func sortColumns(x, w []float64, n int) (s, sortedW, v []float64) {
	norms, order := make([]float64, n), make([]int, n)
	for j := range n {
		norms[j], order[j] = norm(x[j*n:(j+1)*n]), j
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case norms[a] > norms[b]:
			return -1
		case norms[a] < norms[b]:
			return 1
		}
		return 0
	})
	for _, j := range order {
		s = append(s, norms[j])
		sortedW = append(sortedW, w[j*n:(j+1)*n]...)
		v = append(v, x[j*n:(j+1)*n]...)
	}
	directions(s, v, n)
	return s, sortedW, v
}

// directions divides columns by their norms. Those that are zero, within rounding, are replaced by directions
// that complete the others.
func directions(s, v []float64, n int) {
	for j, length := range s {
		x := v[j*n : (j+1)*n]
		if length > 1e-15*s[0] && length > 0 {
			scale(1/length, x)
		} else {
			complete(v[:j*n], x)
		}
	}
}

// complete sets x to a unit vector that is orthogonal to the vectors of v.
func complete(v, x []float64) {
	best := 0.0
	for i := range x {
		trial := make([]float64, len(x))
		trial[i] = 1
		for range 2 {
			project(v, trial)
		}
		if l := norm(trial); l > best {
			best = l
			scale(1/l, trial)
			copy(x, trial)
		}
		if best > 0.5 {
			return
		}
	}
}

// project subtracts from x its components along the vectors of v, which are orthonormal.
func project(v, x []float64) {
	for o := 0; o < len(v); o += len(x) {
		axpy(-dot(v[o:o+len(x)], x), v[o:o+len(x)], x)
	}
}

// orient fixes the signs of n pairs of singular vectors.
func orient(u, v []float64, n int) {
	for j := range n {
		m, k := len(u)/n, len(v)/n
		if signOf(u[j*m:(j+1)*m]) < 0 {
			scale(-1, u[j*m:(j+1)*m])
			scale(-1, v[j*k:(j+1)*k])
		}
	}
}

// signOf is the element of largest magnitude.
func signOf[T Float](x []T) T {
	var big T
	for _, v := range x {
		if max(v, -v) > max(big, -big) {
			big = v
		}
	}
	return big
}
