//go:build (!amd64 && !arm64) || purego

package kernels

func softCap(x []float32, limit, inverse float32) { softCapGeneric(x, limit, inverse) }
