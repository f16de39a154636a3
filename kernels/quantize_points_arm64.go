//go:build !purego

package kernels

//go:noescape
func snapPoint8NEON(trials int, x, w, inverse, scale *float32, near, lists, codes, numbers *uint32) (moved uint32)

//go:noescape
func snapPoint4NEON(trials int, x, w, inverse, scale *float32, near, lists, codes, numbers *uint32) (moved uint32)

func snapPoint(p *PointTrials, l *Lattice, i, trials int, x, w []float32) (moved uint32) {
	near, lists, codes := &l.Near[0], &l.Lists[0], &p.Codes[i][0]
	var numbers [maxTrials]uint32
	if l.Size == 8 {
		return snapPoint8NEON(trials, ptr(x), ptr(w), &p.Inverse[0], &p.Scale[0], near, lists, codes, &numbers[0])
	}
	return snapPoint4NEON(trials, ptr(x), ptr(w), &p.Inverse[0], &p.Scale[0], near, lists, codes, &numbers[0])
}

//go:noescape
func pointSumsNEON(points, size, stride int, x, w *float32, codes *uint32, qx, qq *float32)

func pointSums(p *PointTrials, size, trials int, x, w []float32) {
	const stride = 4 * maxTrials
	for t := 0; t < trials; t += 4 {
		pointSumsNEON(len(x)/size, size, stride, ptr(x), ptr(w), &p.Codes[0][t], &p.QX[t], &p.QQ[t])
	}
}

//go:noescape
func nearestPointNEON(x, w, value *float32, scale float32, list *uint32) (position uint32)

func nearestPoint(list []uint32, value *[16]float32, x, w []float32, scale float32) int {
	return int(nearestPointNEON(ptr(x), ptr(w), &value[0], scale, &list[0]))
}
