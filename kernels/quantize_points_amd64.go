//go:build !purego

package kernels

//go:noescape
func snapPoint8AVX2(
	trials int, x, w, inverse, scale, errors *float32, place *int32, places *uint16, near, lists, points, codes *uint32,
) (moved uint32)

//go:noescape
func snapPoint4AVX2(
	trials int, x, w, inverse, scale, errors *float32, place *int32, places *uint16, near, lists, points, codes *uint32,
) (moved uint32)

//go:noescape
func snapPoint8AVX512(
	trials int, x, w, inverse, scale, memory *float32, near *uint32, lists, digits *uint16, codes *uint32,
) (moved uint32)

//go:noescape
func snapPoint4AVX512(
	trials int, x, w, inverse, scale, memory *float32, near *uint32, lists, digits *uint16, codes *uint32,
) (moved uint32)

// digits is the number that four digits of base 3, two bits each, spell.
var digits = func() (n [256]uint16) {
	for i := range n {
		n[i] = uint16(i&3 + 3*(i>>2&3) + 9*(i>>4&3) + 27*(i>>6))
	}
	return n
}()

func snapPoint(p *PointTrials, l *Lattice, i, trials int, x, w []float32) (moved uint32) {
	inverse, scale, errors, codes := &p.Inverse[0], &p.Scale[0], &p.errors[0], &p.Codes[i][0]
	if current >= tierAVX512 && trials > 1 {
		near, lists := &l.Near[0], &l.Short[0]
		if l.Size == 8 {
			return snapPoint8AVX512(trials, ptr(x), ptr(w), inverse, scale, &p.near[0], near, lists, &digits[0], codes)
		}
		return snapPoint4AVX512(trials, ptr(x), ptr(w), inverse, scale, &p.near[0], near, lists, &digits[0], codes)
	}
	place, places, points := &l.Place[0], &l.Places[0], &l.Points[0]
	near, lists := &l.Near[0], &l.Lists[0]
	if l.Size == 8 {
		return snapPoint8AVX2(trials, ptr(x), ptr(w), inverse, scale, errors, place, places, near, lists, points, codes)
	}
	return snapPoint4AVX2(trials, ptr(x), ptr(w), inverse, scale, errors, place, places, near, lists, points, codes)
}

//go:noescape
func pointSumsAVX512(points, size, stride int, x, w *float32, codes *uint32, qx, qq *float32)

//go:noescape
func pointSumsAVX2(points, size, stride int, x, w *float32, codes *uint32, qx, qq *float32)

func pointSums(p *PointTrials, size, trials int, x, w []float32) {
	const stride = 4 * maxTrials
	for t := 0; t < trials; t += vectorLanes() {
		if current >= tierAVX512 {
			pointSumsAVX512(len(x)/size, size, stride, ptr(x), ptr(w), &p.Codes[0][t], &p.QX[t], &p.QQ[t])
		} else {
			pointSumsAVX2(len(x)/size, size, stride, ptr(x), ptr(w), &p.Codes[0][t], &p.QX[t], &p.QQ[t])
		}
	}
}

//go:noescape
func nearestPointAVX512(x, w, value *float32, scale float32, list *uint32) (position uint32)

//go:noescape
func nearestPointAVX2(x, w, value *float32, scale float32, list *uint32) (position uint32)

func nearestPoint(list []uint32, value *[16]float32, x, w []float32, scale float32) int {
	if current >= tierAVX512 {
		return int(nearestPointAVX512(ptr(x), ptr(w), &value[0], scale, &list[0]))
	}
	return int(nearestPointAVX2(ptr(x), ptr(w), &value[0], scale, &list[0]))
}
