//go:build !purego

package kernels

//go:noescape
func adamwAVX512(n int, p, grad, m, v *float32, c *float32)

//go:noescape
func adamwAVX2(n int, p, grad, m, v *float32, c *float32)

func adamw(p, g, m, v []float32, c *adamwCoefficients) {
	switch current {
	case tierAVX512, tierAMX:
		adamwAVX512(len(p), ptr(p), ptr(g), ptr(m), ptr(v), &c.beta1)
	case tierAVX2:
		adamwAVX2(len(p), ptr(p), ptr(g), ptr(m), ptr(v), &c.beta1)
	default:
		adamwGeneric(p, g, m, v, c)
	}
}
