//go:build !purego

package kernels

//go:noescape
func adamwAVX512(n int, p, grad, m, v *float32, c *float32)

//go:noescape
func adamwAVX2(n int, p, grad, m, v *float32, c *float32)

// adamw is adamwGeneric on the current tier.
func adamw(p, g, m, v []float32, c *adamwCoefficients) {
	n := whole(len(p))
	if n == 0 || current == tierGeneric {
		adamwGeneric(p, g, m, v, c)
		return
	}
	_, _, _ = g[n-1], m[n-1], v[n-1]
	if current == tierAVX512 {
		adamwAVX512(n, &p[0], &g[0], &m[0], &v[0], &c.beta1)
	} else {
		adamwAVX2(n, &p[0], &g[0], &m[0], &v[0], &c.beta1)
	}
	adamwGeneric(p[n:], g[n:], m[n:], v[n:], c)
}
