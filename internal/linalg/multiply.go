package linalg

// Transpose is the transpose (n, m) of a (m, n).
func Transpose[T Float](a []T, m, n int) []T {
	t := make([]T, len(a))
	for i := range m {
		for j := range n {
			t[j*m+i] = a[i*n+j]
		}
	}
	return t
}

// Multiply is a (m, k) · b (k, n). It is for what has to be float64: kernels.Gemm multiplies faster.
func Multiply(a, b []float64, m, k, n int) []float64 {
	check(len(a) == m*k && len(b) == k*n, "Multiply with matrices of another size")
	c := make([]float64, m*n)
	const rows = 32
	multiply := func(block int) {
		for i := block * rows; i < min(m, (block+1)*rows); i++ {
			for l := range k {
				axpy(a[i*k+l], b[l*n:(l+1)*n], c[i*n:(i+1)*n])
			}
		}
	}
	parallel((m+rows-1)/rows, rows*k*n, multiply)
	return c
}
