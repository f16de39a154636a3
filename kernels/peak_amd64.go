//go:build !purego

package kernels

func peakAVX512(n int)
func peakAVX2(n int)
