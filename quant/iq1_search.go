package quant

import (
	"math"

	"github.com/peftconv/peftconv/kernels"
)

// The codes of the IQ1 formats stand for -1, 0 and 1, raised or lowered by 1/8 for a whole run of weights: a value is
// one of raised or one of lowered.
var (
	raised  = [3]float32{-1 + shiftIQ1, shiftIQ1, 1 + shiftIQ1}
	lowered = [3]float32{-1 - shiftIQ1, -shiftIQ1, 1 - shiftIQ1}
)

const shiftIQ1 = 0.125

// valuesIQ1 are the values of the codes, with the highest bit set where they are lowered.
var valuesIQ1 = func() *[256]float32 {
	var table [256]float32
	copy(table[:], raised[:])
	copy(table[128:], lowered[:])
	return &table
}()

// shiftMask lowers eight codes.
func shiftMask(low bool) uint64 {
	if low {
		return eachBit0 << 7
	}
	return 0
}

// shifted is raised or lowered.
func shifted(low bool) *[3]float32 {
	if low {
		return &lowered
	}
	return &raised
}

// shifted is n.raised or n.lowered.
func (n *nearPoints) shifted(low bool) []float32 {
	if low {
		return n.lowered
	}
	return n.raised
}

// A ternaryGroup is a group of 16 or 32 weights under search.
type ternaryGroup struct {
	n     int
	x     []float32
	w     [maxGroup]float32 // how much the error of each counts
	order [maxGroup]uint8   // the weights in ascending order
	codes [maxGroup]uint8   // 0 to 2
	place [4]uint16         // index of the points
	low   [4]bool           // whether the eight weights of a point are lowered
	zero  bool              // all weights are zero
	best  ternaryBest
}

// sort puts the weights in order, equal ones as they come.
func (g *ternaryGroup) sort() {
	var keys [maxGroup]uint64 // order as the weights, then as their number
	for i, v := range g.x {
		if v != v {
			g.insertionSort()
			return
		}
		b := math.Float32bits(v + 0) // -0 becomes 0
		keys[i] = uint64(b^(uint32(int32(b)>>31)|1<<31))<<8 | uint64(i)
	}
	network := sorting32
	if g.n == 16 {
		network = sorting16
	}
	for _, p := range network {
		a, b := &keys[p[0]%maxGroup], &keys[p[1]%maxGroup]
		*a, *b = min(*a, *b), max(*a, *b)
	}
	for i, key := range keys[:g.n] {
		g.order[i] = uint8(key)
	}
}

// insertionSort is sort where NaN is among the weights, which has no place in an order.
func (g *ternaryGroup) insertionSort() {
	for i, v := range g.x {
		j := i
		for ; j > 0 && g.x[g.order[j-1]] > v; j-- {
			g.order[j] = g.order[j-1]
		}
		g.order[j] = uint8(i)
	}
}

// sorting16 and sorting32 are sorting networks: pairs of places, the lesser goes to the first.
var sorting16, sorting32 = sortingNetwork(16), sortingNetwork(32)

// sortingNetwork is Batcher's odd-even merge sort of n numbers, a power of two.
func sortingNetwork(n int) (pairs [][2]uint8) {
	for p := 1; p < n; p *= 2 {
		for k := p; k > 0; k /= 2 {
			for j := k % p; j+k < n; j += 2 * k {
				for i := j; i < min(j+k, n-k); i++ {
					if i/(2*p) == (i+k)/(2*p) {
						pairs = append(pairs, [2]uint8{uint8(i), uint8(i + k)})
					}
				}
			}
		}
	}
	return pairs
}

// split gives code 0 to the first weights in order, 1 to those from first to second, 2 to the others.
func (g *ternaryGroup) split(first, second int) {
	for i, at := range g.order[:g.n] {
		switch {
		case i < first:
			g.codes[at] = 0
		case i < second:
			g.codes[at] = 1
		default:
			g.codes[at] = 2
		}
	}
}

// A ternaryBest is the best cut so far.
type ternaryBest struct {
	found         bool
	score, scale  float32
	first, second int
	low           [2]bool // whether the halves of the group are lowered
}

// offer takes the cut if its error is less.
func (b *ternaryBest) offer(x, w float32, first, second int, low0, low1 bool) {
	if w > 0 && x*x > b.score*w {
		b.scale = x / w
		b.score = b.scale * x
		b.found, b.first, b.second, b.low = true, first, second, [2]bool{low0, low1}
	}
}

// take sets the codes of the group to those of the best cut, moved onto the lattice, and returns their scale; ok is
// false if no cut was found.
func (g *ternaryGroup) take() (scale float32, ok bool) {
	best := &g.best
	if !best.found {
		return 0, false
	}
	g.split(best.first, best.second)
	for i := range g.n / 8 {
		g.low[i] = best.low[i*16/g.n]
	}
	scale = best.scale
	if scale < 0 {
		scale = -scale
		g.turn()
	}
	return g.snap(scale), true
}

// turn changes the sign of everything.
func (g *ternaryGroup) turn() {
	for i, l := range g.codes[:g.n] {
		g.codes[i] = 2 - l
	}
	for i, low := range g.low {
		g.low[i] = !low
	}
}

// snap finds the points of the codes. Codes that are not on the lattice are replaced by the neighbour with the least
// error. If there were any, it returns a scale fitted to the new codes.
func (g *ternaryGroup) snap(scale float32) float32 {
	near := latticeIQ1.near()
	moved := false
	for i := range g.n / 8 {
		at := 8 * i
		number := latticeIQ1.spell(g.codes[at:])
		place := near.place[number]
		if place < 0 {
			moved = true
			place = int32(g.nearest(near, number, i, scale))
		}
		g.place[i] = uint16(place)
	}
	if !moved {
		return scale
	}
	if qx, qq := g.sums(1); qx > 0 && qq > 0 {
		return qx / qq
	}
	return scale
}

// nearest is the index of the neighbour with the least error of the codes of point i, which spell number.
func (g *ternaryGroup) nearest(near *nearPoints, number, i int, scale float32) int {
	place, x, w := near.place[number], g.x[8*i:][:8], g.w[8*i:][:8]
	if !haveLanes() {
		return near.nearest(place, near.shifted(g.low[i]), x, w, scale)
	}
	codes, values := latticeIQ1.codes(), &raisedCodes
	if g.low[i] {
		values = &loweredCodes
	}
	return int(near.neighbours(place)[kernels.NearestPoint(codes.Lists[codes.Near[number]-1:], values, x, w, scale)])
}

// sums is Σ w·q·x and Σ w·q² with the points' values, multiplied by factor, for q.
func (g *ternaryGroup) sums(factor float32) (qx, qq float32) {
	return g.addSums(0, 0, factor)
}

// addSums adds to sums that have begun.
func (g *ternaryGroup) addSums(qx, qq, factor float32) (float32, float32) {
	for i := range g.n / 8 {
		value := shifted(g.low[i])
		point := latticeIQ1.points[g.place[i]]
		for j := 8 * i; j < 8*i+8; j++ {
			q := float32(value[point&3] * factor)
			wq := float32(g.w[j] * q)
			qx += float32(wq * g.x[j])
			qq += float32(wq * q)
			point >>= 8
		}
	}
	return qx, qq
}
