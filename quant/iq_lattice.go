package quant

import (
	"strings"
	"sync"

	"github.com/peftconv/peftconv/kernels"
)

// A lattice is the points that a run of weights can take in an IQ format: eight codes of three values each, or four
// codes of eight. A block stores the index of a point.
type lattice struct {
	size   int      // weights a point spans
	radix  int      // codes a weight can have
	shells int      // of neighbours, see near
	points []uint64 // codes, a byte a weight, the first lowest

	near  func() *nearPoints      // made when something is first quantized
	codes func() *kernels.Lattice // the same for searches in lanes
}

// nearPoints lists the points near to any codes.
type nearPoints struct {
	// place[n] is the index of the point whose codes spell the number n, the first digit lowest. Where there is no
	// such point, it is -1-i, and its neighbours are at places[i]: their count, then their indexes.
	place  []int32
	places []uint16

	// The values of the points' codes, (point, weight): 2·code+1. In IQ1 they are raised or lowered.
	odd, raised, lowered []float32
}

var (
	latticeIQ2_XXS = newLattice(wordsIQ2_XXS, 3, 2)
	latticeIQ2_XS  = newLattice(wordsIQ2_XS, 3, 2)
	latticeIQ2_S   = newLattice(wordsIQ2_S, 3, 1)
	latticeIQ3_XXS = newLattice(wordsIQ3_XXS, 8, 2)
	latticeIQ3_S   = newLattice(wordsIQ3_S, 8, 3)
	latticeIQ1     = newLattice(wordsIQ1, 3, 3)
)

func newLattice(words string, radix, shells int) *lattice {
	l := &lattice{radix: radix, shells: shells}
	for word := range strings.FieldsSeq(words) {
		var point uint64
		for i, digit := range []byte(word) {
			point |= uint64(digit-'0') << (8 * i)
		}
		l.points = append(l.points, point)
		l.size = len(word)
	}
	l.near = sync.OnceValue(l.findNear)
	l.codes = sync.OnceValue(l.findCodes)
	return l
}

// The points as the bytes that their codes stand for, in IQ1 before they are raised or lowered.
var (
	gridIQ1     = latticeIQ1.standFor(-1, 0, 1)
	gridIQ2_XXS = latticeIQ2_XXS.standFor(8, 25, 43)
	gridIQ2_XS  = latticeIQ2_XS.standFor(8, 25, 43)
	gridIQ2_S   = latticeIQ2_S.standFor(8, 25, 43)
	gridIQ3_XXS = latticeIQ3_XXS.standFor(4, 12, 20, 28, 36, 44, 52, 62)
	gridIQ3_S   = latticeIQ3_S.standFor(1, 3, 5, 7, 9, 11, 13, 15)
)

// standFor returns a byte for each weight of each point: the one of value that its code stands for.
func (l *lattice) standFor(value ...int8) []byte {
	var list []byte
	for _, point := range l.points {
		for range l.size {
			list = append(list, byte(value[point&255]))
			point >>= 8
		}
	}
	return list
}

// spell is the number that the codes spell.
func (l *lattice) spell(codes []uint8) int {
	n := 0
	for i := l.size - 1; i >= 0; i-- {
		n = n*l.radix + int(codes[i])
	}
	return n
}

// unspell sets the codes of a point's first or second half, or of any others, from the number n that they spell.
func (l *lattice) unspell(codes []uint8, n int) {
	for i := range codes {
		codes[i] = uint8(n % l.radix)
		n /= l.radix
	}
}

// findNear lists, for every combination of codes that is no point, the points nearest to it: all those at the least
// distance, at the next one, and so on, as many distances as the lattice has shells; in the order of distance and
// index.
func (l *lattice) findNear() *nearPoints {
	half := 1
	for range l.size / 2 {
		half *= l.radix
	}
	near := &nearPoints{place: make([]int32, half*half)}
	distances := l.halfDistances(half)
	lower, upper := make([]int, len(l.points)), make([]int, len(l.points))
	for i, point := range l.points {
		var codes [8]uint8
		store8(codes[:], point)
		n := l.spell(codes[:])
		lower[i], upper[i] = n%half, n/half
		near.place[n] = int32(i) + 1
		for _, q := range codes[:l.size] {
			near.odd = append(near.odd, float32(2*q+1))
			if l.radix == len(raised) {
				near.raised = append(near.raised, raised[q])
				near.lowered = append(near.lowered, lowered[q])
			}
		}
	}
	distance := make([]uint8, len(l.points))
	for n := range near.place {
		if near.place[n] > 0 {
			near.place[n]--
			continue
		}
		toLower, toUpper := distances[n%half*half:][:half], distances[n/half*half:][:half]
		for i := range distance {
			distance[i] = toLower[lower[i]] + toUpper[upper[i]]
		}
		near.place[n] = -1 - int32(len(near.places))
		near.places = appendNearest(near.places, distance, l.shells)
	}
	return near
}

// codesAtATime: lists of packed points are filled up to a multiple of it.
const codesAtATime = 16

// findCodes is findNear with packed points: four bits a code.
func (l *lattice) findCodes() *kernels.Lattice {
	near := l.near()
	codes := &kernels.Lattice{
		Size: l.size, Radix: l.radix, Near: make([]uint32, len(near.place)), Place: near.place, Places: near.places,
	}
	for i := range l.points {
		codes.AddPoint(l.code(uint16(i)))
	}
	for n, place := range near.place {
		if place >= 0 {
			continue
		}
		neighbours := near.neighbours(place)
		codes.Lists = append(codes.Lists, uint32(len(neighbours)+7)/8)
		codes.Short = append(codes.Short, uint16(len(neighbours)))
		codes.Near[n] = uint32(len(codes.Lists))
		for _, p := range neighbours {
			codes.Lists = append(codes.Lists, l.code(p))
			codes.Short = append(codes.Short, l.shortCode(p))
		}
		for i := len(neighbours); i%codesAtATime > 0; i++ {
			codes.Lists = append(codes.Lists, l.code(neighbours[0]))
			codes.Short = append(codes.Short, l.shortCode(neighbours[0]))
		}
	}
	return codes
}

// shortCode is a point in 16 bits.
func (l *lattice) shortCode(place uint16) (code uint16) {
	width := 16 / l.size
	for i := range l.size {
		code |= uint16(l.points[place]>>(8*i)&15) << (width * i)
	}
	return code
}

// code is a packed point: its codes, four bits each.
func (l *lattice) code(place uint16) (code uint32) {
	for i := range l.size {
		code |= uint32(l.points[place]>>(8*i)&15) << (4 * i)
	}
	return code
}

// halfDistances is the squared distance, in codes, between any two halves of points.
func (l *lattice) halfDistances(half int) []uint8 {
	distances := make([]uint8, half*half)
	a, b := make([]uint8, l.size/2), make([]uint8, l.size/2)
	for i := range distances {
		l.unspell(a, i/half)
		l.unspell(b, i%half)
		for k := range a {
			d := int(a[k]) - int(b[k])
			distances[i] += uint8(d * d)
		}
	}
	return distances
}

// appendNearest adds the count and the indexes of the points in the nearest shells.
func appendNearest(places []uint16, distance []uint8, shells int) []uint16 {
	var found [256]bool
	for _, d := range distance {
		found[d] = true
	}
	count := len(places)
	places = append(places, 0)
	for d := 0; d < len(found) && shells > 0; d++ {
		if !found[d] {
			continue
		}
		shells--
		for i, other := range distance {
			if int(other) == d {
				places = append(places, uint16(i))
			}
		}
	}
	places[count] = uint16(len(places) - count - 1)
	return places
}

// at is the index of the point with the given codes. Where there is none it is that of the nearest point; that happens
// only with weights that are NaN.
func (l *lattice) at(codes []uint8) int {
	near := l.near()
	n := l.spell(codes)
	if n >= len(near.place) {
		return 0
	}
	place := near.place[n]
	if place < 0 {
		return int(near.places[-place])
	}
	return int(place)
}

// neighbours is the indexes of the points near to codes whose place is negative.
func (n *nearPoints) neighbours(place int32) []uint16 {
	first := -1 - int(place)
	return n.places[first+1:][:n.places[first]]
}

// nearest is the neighbour of the codes at place (negative) that, scaled, comes closest to x, squared errors weighted
// by w. value holds the values of the points.
func (n *nearPoints) nearest(place int32, value, x, w []float32, scale float32) int {
	neighbours := n.neighbours(place)
	if len(x) == 8 {
		return nearestOfEight(neighbours, value, (*[8]float32)(x), (*[8]float32)(w), scale)
	}
	return nearestOfFour(neighbours, value, (*[4]float32)(x), (*[4]float32)(w), scale)
}

func nearestOfFour(neighbours []uint16, value []float32, x, w *[4]float32, scale float32) int {
	best, least := neighbours[0], float32(greatestFloat)
	for _, p := range neighbours {
		if sum := addErrors(0, (*[4]float32)(value[4*int(p):]), x, w, scale); sum < least {
			best, least = p, sum
		}
	}
	return int(best)
}

// nearestOfEight skips points whose first half is already too far away, unless the second half may make up for it.
func nearestOfEight(neighbours []uint16, value []float32, x, w *[8]float32, scale float32) int {
	best, least := neighbours[0], float32(greatestFloat)
	x1, w1 := (*[4]float32)(x[4:]), (*[4]float32)(w[4:])
	farther := min(w1[0], w1[1], w1[2], w1[3]) >= 0
	for _, p := range neighbours {
		q := (*[8]float32)(value[8*int(p):])
		sum := addErrors(0, (*[4]float32)(q[:4]), (*[4]float32)(x[:4]), (*[4]float32)(w[:4]), scale)
		if sum >= least && farther {
			continue
		}
		if sum = addErrors(sum, (*[4]float32)(q[4:]), x1, w1, scale); sum < least {
			best, least = p, sum
		}
	}
	return int(best)
}

// addErrors adds the weighted squared errors of four weights, one after the other.
func addErrors(sum float32, q, x, w *[4]float32, scale float32) float32 {
	d0, d1 := float32(scale*q[0])-x[0], float32(scale*q[1])-x[1]
	d2, d3 := float32(scale*q[2])-x[2], float32(scale*q[3])-x[3]
	sum += float32(float32(w[0]*d0) * d0)
	sum += float32(float32(w[1]*d1) * d1)
	sum += float32(float32(w[2]*d2) * d2)
	return sum + float32(float32(w[3]*d3)*d3)
}
