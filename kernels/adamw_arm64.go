//go:build !purego

package kernels

//go:noescape
func adamwNEON(n int, p, grad, m, v *float32, c *float32)

func adamw(p, g, m, v []float32, c *adamwCoefficients) {
	if current >= tierNEON {
		adamwNEON(len(p), ptr(p), ptr(g), ptr(m), ptr(v), &c.beta1)
	} else {
		adamwGeneric(p, g, m, v, c)
	}
}
