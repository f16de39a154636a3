//go:build (!amd64 && !arm64) || purego

package kernels

const noPoints = "kernels: points are not searched without assembly"

func snapPoint(p *PointTrials, l *Lattice, i, trials int, x, w []float32) (moved uint32) {
	panic(noPoints)
}

func pointSums(p *PointTrials, size, trials int, x, w []float32) { panic(noPoints) }

func nearestPoint(list []uint32, value *[16]float32, x, w []float32, scale float32) int {
	panic(noPoints)
}
