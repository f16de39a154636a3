package quant

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"sync"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/prng"
)

// SetCodes for types whose weights are points of a lattice. Not every code has a neighbour a step away, so what moves
// is a point: to one of its nearest points, or by turning the sign of a weight, or of two where their number is even. A
// change of eight weights is written as a sum of such moves, each times a share, the one with the largest projection
// first (matching pursuit, Mallat and Zhang 1993). Each is made where its share is above its threshold; what follows
// starts from there. So the mean over many weights is the change, as far as the sum is.

const (
	pointNeighbours = 24 // nearest points that a point moves to
	pointTerms      = 8  // moves that a change is a sum of
	pointSteps      = 16 // moves that are made where there are no thresholds
)

// A pointMove is a step from a point to another, in values before scaling and without signs.
type pointMove struct {
	by      [PointLen]float32 // of the half's weights; zeros behind
	inverse float32           // 1 over its squared length
	to      uint16
}

// pointMoves are the moves of every point, nearest first.
type pointMoves [][]pointMove

// findMoves lists the nearest points of every point.
func (k *pointKind) findMoves() pointMoves {
	value := k.value()
	n := len(k.points)
	all := make(pointMoves, n)
	type near struct {
		to       uint16
		distance float32
	}
	list := make([]near, n)
	for p := range n {
		at := value[p*k.size : (p+1)*k.size]
		for q := range n {
			list[q] = near{uint16(q), 0}
			for i, v := range value[q*k.size : (q+1)*k.size] {
				list[q].distance += float32((v - at[i]) * (v - at[i]))
			}
		}
		slices.SortStableFunc(list, func(a, b near) int { return cmp.Compare(a.distance, b.distance) })
		moves := make([]pointMove, min(pointNeighbours, n-1))
		for i := range moves {
			to := list[i+1]
			moves[i] = pointMove{to: to.to, inverse: 1 / to.distance}
			for j, v := range value[int(to.to)*k.size : (int(to.to)+1)*k.size] {
				moves[i].by[j] = v - at[j]
			}
		}
		all[p] = moves
	}
	return all
}

// A pointTerm is a move with its share of a change.
type pointTerm struct {
	half  int
	move  *pointMove // nil: signs are turned
	turn  uint8      // the signs
	share float32
}

// pointCodes sets the points of eight weights at a time.
type pointCodes struct {
	kind  *pointKind
	moves pointMoves
	place [2]uint16
	signs uint8
	size  [PointLen]float32 // values without signs
	sign  [PointLen]float32 // 1 or -1
}

// setPointCodes is SetCodes of a type that HasPoints.
func setPointCodes(t gguf.Type, dst, base []byte, change []float32, round Rounding) {
	f := mustLookup(t)
	copy(dst, base)
	m := Matrix{Type: t, Rows: 1, Cols: len(change), Data: base}
	work := pointWorks.Get().(*pointWork)
	defer pointWorks.Put(work)
	n := m.Groups()
	work.scale, work.offset = slices.Grow(work.scale[:0], n)[:n], slices.Grow(work.offset[:0], n)[:n]
	m.Scales(work.scale, work.offset, 0)
	if round.Master != nil {
		work.values = slices.Grow(work.values[:0], len(change))[:len(change)]
		Dequantize(t, work.values, base)
	}
	c := &work.codes
	c.kind = pointsOf[t]
	c.moves = c.kind.moves()
	group := GroupLen(t)
	for at := 0; at < len(change); at += PointLen {
		part := change[at : at+PointLen]
		scale := work.scale[at/group]
		if allZero(part) || scale == 0 || scale-scale != 0 {
			continue
		}
		b, i := dst[at/weightsK*f.bytes:][:f.bytes], at%weightsK/PointLen
		c.load(b, i)
		inverse := 1 / scale
		var aim [PointLen]float32 // what is to be added to the values without signs
		var key uint64
		if round.Stochastic != nil {
			for _, u := range round.Stochastic[at : at+PointLen] {
				key = key<<8 ^ key>>56 ^ uint64(u*(1<<16))
			}
		}
		switch {
		case round.Master != nil:
			c.fromMaster(&aim, part, round.Master[at:at+PointLen], work.values[at:at+PointLen], inverse)
		default:
			for j, d := range part {
				aim[j] = float32(d*inverse) * c.sign[j]
			}
		}
		if c.round(&aim, key, round.Stochastic != nil) {
			c.kind.set(b, i, c.place, c.signs)
		}
	}
}

// pointWork is memory of setPointCodes.
type pointWork struct {
	codes                 pointCodes
	scale, offset, values []float32
}

var pointWorks = sync.Pool{New: func() any { return new(pointWork) }}

// allZero reports whether no weight changes.
func allZero(x []float32) bool {
	for _, v := range x {
		if v != 0 {
			return false
		}
	}
	return true
}

// load takes the points of eight weights.
func (c *pointCodes) load(b []byte, i int) {
	c.place, c.signs = c.kind.get(b, i)
	c.update()
}

// update sets the values of the points.
func (c *pointCodes) update() {
	table, size := c.kind.value(), c.kind.size
	if !c.kind.signs && c.signs != 0 {
		table = table[len(table)/2:]
	}
	for i := range c.size {
		c.size[i] = table[int(c.place[i/size])*size+i%size]
		c.sign[i] = 1
		if c.kind.signs && c.signs>>i&1 != 0 {
			c.sign[i] = -1
		}
	}
}

// fromMaster is the aim of a change of master weights, which are first limited to what the points would be rounded to.
func (c *pointCodes) fromMaster(aim *[PointLen]float32, change, master, values []float32, inverse float32) {
	for i, x := range master {
		off := float32(float32((x-values[i])*inverse) * c.sign[i])
		if off-off != 0 {
			off = 0
		}
		aim[i] = off
	}
	if t, ok := c.best(aim); ok && t.share > withinCell {
		for i := range aim {
			aim[i] *= withinCell / t.share
		}
	}
	for i, d := range change {
		aim[i] += float32(float32(d*inverse) * c.sign[i])
	}
}

// withinCell is the share of a move that is not yet rounded up.
const withinCell = 0.4999

// leastShare is the share of a move below which it is left away.
const leastShare = 1.0 / (1 << 16)

// best is the move along which the aim has its largest projection.
func (c *pointCodes) best(aim *[PointLen]float32) (best pointTerm, ok bool) {
	most, found := float32(0), -1
	if c.kind.size == PointLen {
		moves := c.moves[c.place[0]]
		for i := range moves {
			m := &moves[i]
			dot := dotOfFour(aim[:4], m.by[:4]) + dotOfFour(aim[4:], m.by[4:])
			if gain := float32(dot*dot) * m.inverse; dot > 0 && gain > most {
				most, found, best.share = gain, i, dot*m.inverse
			}
		}
		if found >= 0 {
			best.move = &moves[found]
		}
	} else {
		for half := range 2 {
			moves, x := c.moves[c.place[half]], aim[4*half:4*half+4]
			found = -1
			for i := range moves {
				m := &moves[i]
				dot := dotOfFour(x, m.by[:4])
				if gain := float32(dot*dot) * m.inverse; dot > 0 && gain > most {
					most, found, best.share = gain, i, dot*m.inverse
				}
			}
			if found >= 0 {
				best.move, best.half = &moves[found], half
			}
		}
	}
	if c.kind.signs {
		c.bestTurn(aim, &best, most)
	}
	return best, best.share > leastShare
}

// dotOfFour is a product of four values each.
func dotOfFour(x, y []float32) float32 {
	_, _ = x[3], y[3]
	return float32(x[0]*y[0]) + float32(x[1]*y[1]) + (float32(x[2]*y[2]) + float32(x[3]*y[3]))
}

// bestTurn compares the turning of signs with the best move so far. Turning that of weight i moves it by -2·size.
func (c *pointCodes) bestTurn(aim *[PointLen]float32, best *pointTerm, most float32) {
	var dots, squares [PointLen]float32
	for i, a := range c.size {
		dots[i], squares[i] = float32(-2*aim[i]*a), float32(4*a*a)
	}
	turn, dot, length := uint8(0), float32(0), float32(1)
	for i, d := range dots {
		if !c.kind.even {
			if d > 0 && float32(d*d) > most*squares[i] {
				turn, dot, length, most = 1<<i, d, squares[i], float32(d*d)/squares[i]
			}
			continue
		}
		for j := range i {
			both, square := d+dots[j], squares[i]+squares[j]
			if both > 0 && float32(both*both) > most*square {
				turn, dot, length, most = 1<<i|1<<j, both, square, float32(both*both)/square
			}
		}
	}
	if turn != 0 {
		*best = pointTerm{turn: turn, share: dot / length}
	}
}

// subtract takes a move, times its share, from an aim.
func (c *pointCodes) subtract(aim *[PointLen]float32, t *pointTerm) {
	if t.move != nil {
		x := aim[t.half*c.kind.size:][:c.kind.size]
		for j := range x {
			x[j] -= float32(t.share * t.move.by[j])
		}
		return
	}
	for i := range aim {
		if t.turn>>i&1 != 0 {
			aim[i] += float32(t.share * float32(2*c.size[i]))
		}
	}
}

// make makes a move. The aim, which is without signs, is turned with them.
func (c *pointCodes) make(t *pointTerm, aim *[PointLen]float32) {
	if t.move != nil {
		c.place[t.half] = t.move.to
	}
	c.signs ^= t.turn
	for i := range aim {
		if t.turn>>i&1 != 0 {
			aim[i] = -aim[i]
		}
	}
	c.update()
}

// round makes the moves that an aim is rounded to, and reports whether there is one. key makes thresholds, one for each
// move; without it moves of half a step and more are made.
//
// Where all shares are small, as they mostly are, one threshold for all of them decides first whether any move is
// made: most is the most that a share can be, and moves are then made with the probability share / most. So the
// sum is not looked for in vain.
func (c *pointCodes) round(aim *[PointLen]float32, key uint64, stochastic bool) (changed bool) {
	most, terms := float32(1), pointSteps
	if stochastic {
		terms = pointTerms
		if most = c.mostShare(aim); uniform(key) >= most {
			return false
		}
	}
	for range terms {
		t, ok := c.best(aim)
		if !ok || !stochastic && t.share < 0.5 {
			break
		}
		if t.share = min(t.share, 1); !stochastic {
			t.share = 1
		}
		c.subtract(aim, &t)
		if !stochastic || float32(c.threshold(key, &t)*most) < t.share {
			c.make(&t, aim)
			changed = true
		}
	}
	return changed
}

// mostShare is the most that the share of a move of the points can be for an aim: its length over that of the shortest
// move.
func (c *pointCodes) mostShare(aim *[PointLen]float32) float32 {
	length := dotOfFour(aim[:4], aim[:4]) + dotOfFour(aim[4:], aim[4:])
	inverse := c.moves[c.place[0]][0].inverse
	if c.kind.size < PointLen {
		inverse = max(inverse, c.moves[c.place[1]][0].inverse)
	}
	if c.kind.signs {
		shortest := c.size[0]
		for _, a := range c.size[1:] {
			shortest = min(shortest, a)
		}
		square := float32(4 * shortest * shortest)
		if c.kind.even {
			square *= 2
		}
		inverse = max(inverse, 1/square)
	}
	return min(1, float32(math.Sqrt(float64(length*inverse))))
}

// threshold is that of a move from the present points: uniform in [0, 1).
func (c *pointCodes) threshold(key uint64, t *pointTerm) float32 {
	id := uint64(t.turn)<<32 | uint64(t.half)<<40
	if t.move != nil {
		id |= uint64(t.move.to) + 1
	}
	id ^= uint64(bits.ReverseBytes16(c.place[0]))<<48 ^ uint64(c.place[1])<<16
	return uniform(key ^ prng.Mix(id))
}

// uniform is a number in [0, 1) that a key stands for.
func uniform(key uint64) float32 { return float32(prng.Mix(key)>>40) / (1 << 24) }
