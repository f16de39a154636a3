//go:build (!amd64 && !arm64) || purego

package kernels

func dequantize(kind BlockKind, blocks int, dst []float32, src []byte) bool { return false }

func dequantizePoints(kind BlockKind, blocks int, dst []float32, src, points []byte) bool {
	return false
}
