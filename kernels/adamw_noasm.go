//go:build (!amd64 && !arm64) || purego

package kernels

func adamw(p, g, m, v []float32, c *adamwCoefficients) { adamwGeneric(p, g, m, v, c) }
