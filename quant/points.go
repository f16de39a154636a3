package quant

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"

	"github.com/peftconv/peftconv/gguf"
)

// PointLen is how many weights the points of a lattice type are chosen for together by Points.Improve.
const PointLen = 8

// HasPoints says whether weights of type t are points of a lattice: IQ1, IQ2 and IQ3 types.
func HasPoints(t gguf.Type) bool { return pointsOf[t] != nil }

// Points are the points of a run of super-blocks of a type that HasPoints. They can be changed one by one, where
// scales stay the same: Begin takes eight weights; then, for each of Halves, CoefficientsTo gives the error of a
// candidate as a form of PointFeatures, of which the product with the features of all points goes to Choose; End takes
// the best. The products of many rows are made together by matrix multiplication, which is why the search is in these
// steps.
type Points struct {
	kind   *pointKind
	format *format
	blocks []byte
	scale  []float32 // of each group
	offset []float32
	group  int

	at     int // which eight weights
	factor float32
	m      [PointLen][PointLen]float32 // the error is vᵀ·m·v - 2·bᵀ·v, v being values before scaling
	b      [PointLen]float32
	now    pointChoice
	tries  [PointCandidates]pointChoice
	count  int
}

// PointCandidates is how many patterns of signs are tried for eight weights.
const PointCandidates = 2

// A pointChoice is one of the points that eight weights can take, with the error but for a constant.
type pointChoice struct {
	place [2]uint16
	signs uint8 // in IQ1 1 where the values are lowered
	error float32
}

// A pointKind says where eight weights have the index of their point, or those of two points of four weights, and their
// signs.
type pointKind struct {
	*lattice
	even  bool // the number of negative signs is even
	signs bool // there are signs
	shift bool // eight weights are raised or lowered on their own
	get   func(b []byte, i int) (place [2]uint16, signs uint8)
	set   func(b []byte, i int, place [2]uint16, signs uint8)
	// values of the points, (point, weight); in IQ1 those that are raised, then those that are lowered
	value    func() []float32
	features func() []float32
	moves    func() pointMoves // of all points, for SetCodes
}

// magnitudes are the values of a lattice's points by those of the codes.
func (l *lattice) magnitudes(value ...[]float32) func() []float32 {
	return sync.OnceValue(func() (all []float32) {
		for _, v := range value {
			for _, point := range l.points {
				for range l.size {
					all = append(all, v[point&255])
					point >>= 8
				}
			}
		}
		return all
	})
}

// sevenBits reads and writes seven sign bits of eight weights, four times in 32 bits.
func sevenBits(b []byte, i int) uint8 {
	s := uint8(binary.LittleEndian.Uint32(b) >> (7 * i) & 127)
	return s | uint8(bits.OnesCount8(s)&1)<<7
}

func setSevenBits(b []byte, i int, signs uint8) {
	v := binary.LittleEndian.Uint32(b)
	binary.LittleEndian.PutUint32(b, v&^(127<<(7*i))|uint32(signs&127)<<(7*i))
}

// setBits replaces some low bits, shifted, of a byte.
func setBits(b *byte, mask, value uint8, shift int) { *b = *b&^(mask<<shift) | value&mask<<shift }

var pointsOf = map[gguf.Type]*pointKind{
	gguf.IQ2_XXS: {
		lattice: latticeIQ2_XXS, even: true, signs: true, value: latticeIQ2_XXS.magnitudes([]float32{8, 25, 43}),
		get: func(b []byte, i int) ([2]uint16, uint8) {
			g := b[groupsIQ2_XXS+i/4*8:]
			return [2]uint16{uint16(g[i%4])}, sevenBits(g[4:], i%4)
		},
		set: func(b []byte, i int, place [2]uint16, signs uint8) {
			g := b[groupsIQ2_XXS+i/4*8:]
			g[i%4] = byte(place[0])
			setSevenBits(g[4:], i%4, signs)
		},
	},
	gguf.IQ2_XS: {
		lattice: latticeIQ2_XS, even: true, signs: true, value: latticeIQ2_XS.magnitudes([]float32{8, 25, 43}),
		get: func(b []byte, i int) ([2]uint16, uint8) {
			v := binary.LittleEndian.Uint16(b[pointsIQ2_XS+2*i:])
			s := uint8(v >> 9)
			return [2]uint16{v & 511}, s | uint8(bits.OnesCount8(s)&1)<<7
		},
		set: func(b []byte, i int, place [2]uint16, signs uint8) {
			binary.LittleEndian.PutUint16(b[pointsIQ2_XS+2*i:], place[0]|uint16(signs&127)<<9)
		},
	},
	gguf.IQ2_S: {
		lattice: latticeIQ2_S, signs: true, value: latticeIQ2_S.magnitudes([]float32{8, 25, 43}),
		get: func(b []byte, i int) ([2]uint16, uint8) {
			return [2]uint16{uint16(b[pointsIQ2_S+i]) | uint16(b[highIQ2_S+i/4]>>(2*(i%4))&3)<<8}, b[signsIQ2_S+i]
		},
		set: func(b []byte, i int, place [2]uint16, signs uint8) {
			b[pointsIQ2_S+i], b[signsIQ2_S+i] = byte(place[0]), signs
			setBits(&b[highIQ2_S+i/4], 3, uint8(place[0]>>8), 2*(i%4))
		},
	},
	gguf.IQ3_XXS: {
		lattice: latticeIQ3_XXS, even: true, signs: true,
		value: latticeIQ3_XXS.magnitudes([]float32{4, 12, 20, 28, 36, 44, 52, 62}),
		get: func(b []byte, i int) ([2]uint16, uint8) {
			p := b[pointsIQ3_XXS+2*i:]
			return [2]uint16{uint16(p[0]), uint16(p[1])}, sevenBits(b[signsIQ3_XXS+i/4*4:], i%4)
		},
		set: func(b []byte, i int, place [2]uint16, signs uint8) {
			p := b[pointsIQ3_XXS+2*i:]
			p[0], p[1] = byte(place[0]), byte(place[1])
			setSevenBits(b[signsIQ3_XXS+i/4*4:], i%4, signs)
		},
	},
	gguf.IQ3_S: {
		lattice: latticeIQ3_S, signs: true, value: latticeIQ3_S.magnitudes([]float32{1, 3, 5, 7, 9, 11, 13, 15}),
		get: func(b []byte, i int) ([2]uint16, uint8) {
			p, high := b[pointsIQ3_S+2*i:], uint16(b[highIQ3_S+i/4]>>(2*(i%4)))
			return [2]uint16{uint16(p[0]) | high&1<<8, uint16(p[1]) | high>>1&1<<8}, b[signsIQ3_S+i]
		},
		set: func(b []byte, i int, place [2]uint16, signs uint8) {
			p := b[pointsIQ3_S+2*i:]
			p[0], p[1], b[signsIQ3_S+i] = byte(place[0]), byte(place[1]), signs
			setBits(&b[highIQ3_S+i/4], 3, uint8(place[0]>>8|place[1]>>8<<1), 2*(i%4))
		},
	},
	gguf.IQ1_S: {
		lattice: latticeIQ1, value: latticeIQ1.magnitudes(raised[:], lowered[:]),
		get: func(b []byte, i int) ([2]uint16, uint8) {
			high := binary.LittleEndian.Uint16(b[highIQ1_S+i/4*2:])
			return [2]uint16{uint16(b[pointsIQ1_S+i]) | high>>(3*(i%4))&7<<8}, uint8(high >> 15)
		},
		set: func(b []byte, i int, place [2]uint16, _ uint8) {
			h := b[highIQ1_S+i/4*2:]
			high, shift := binary.LittleEndian.Uint16(h), 3*(i%4)
			b[pointsIQ1_S+i] = byte(place[0])
			binary.LittleEndian.PutUint16(h, high&^(7<<shift)|place[0]>>8<<shift)
		},
	},
	gguf.IQ1_M: {
		lattice: latticeIQ1, shift: true, value: latticeIQ1.magnitudes(raised[:], lowered[:]),
		get: func(b []byte, i int) ([2]uint16, uint8) {
			high := b[highIQ1_M+i/2] >> (4 * (i % 2))
			return [2]uint16{uint16(b[i]) | uint16(high&7)<<8}, high >> 3 & 1
		},
		set: func(b []byte, i int, place [2]uint16, signs uint8) {
			b[i] = byte(place[0])
			setBits(&b[highIQ1_M+i/2], 15, uint8(place[0]>>8)|signs<<3, 4*(i%2))
		},
	},
}

func init() {
	for _, k := range pointsOf {
		k.features, k.moves = sync.OnceValue(k.allFeatures), sync.OnceValue(k.findMoves)
	}
}

// allFeatures are the products of any two values of a point, and the values, of all points: (points, features).
func (k *pointKind) allFeatures() (all []float32) {
	value := k.value()
	for at := 0; at < len(value); at += k.size {
		v := value[at : at+k.size]
		for i, x := range v {
			for _, y := range v[i:] {
				all = append(all, x*y)
			}
		}
		all = append(all, v...)
	}
	return all
}

// PointFeatures are the features of all points of a type that HasPoints: a matrix (points, n), the same for all calls.
func PointFeatures(t gguf.Type) (features []float32, n int) {
	k := pointsOf[t]
	return k.features(), k.size * (k.size + 3) / 2
}

// Halves is how many points eight weights have: one of eight weights or two of four.
func (p *Points) Halves() int { return PointLen / p.kind.size }

// Load takes super-blocks of a type that HasPoints, which End changes.
func (p *Points) Load(t gguf.Type, blocks []byte) {
	p.kind, p.format, p.blocks, p.group = pointsOf[t], mustLookup(t), blocks, GroupLen(t)
	m := Matrix{Type: t, Rows: 1, Cols: len(blocks) / p.format.bytes * weightsK, Data: blocks}
	n := m.Groups()
	p.scale, p.offset = slices.Grow(p.scale[:0], n)[:n], slices.Grow(p.offset[:0], n)[:n]
	m.Scales(p.scale, p.offset, 0)
}

// block is the super-block of the weights at work, and their number in it.
func (p *Points) block() (b []byte, i int) {
	const perBlock = weightsK / PointLen
	return p.blocks[p.at/perBlock*p.format.bytes:][:p.format.bytes], p.at % perBlock
}

// Begin takes weights PointLen·i to PointLen·(i+1)-1. The error of a change c of them is cᵀ·H·c - 2·slopeᵀ·c. h holds
// H, rows of which are stride apart; values are the weights as they are. The candidates have the present signs and
// those of the weights that would be best if each were free.
func (p *Points) Begin(i int, values, slope, h []float32, stride int) {
	p.at, p.factor, p.count = i, p.scale[i*PointLen/p.group], 0
	if p.factor == 0 || p.factor-p.factor != 0 {
		return
	}
	for i := range PointLen {
		row := h[i*stride : i*stride+PointLen]
		sum := slope[i]
		for j, x := range row {
			sum += float32(x * values[j])
			p.m[i][j] = float32(float32(x*p.factor) * p.factor)
		}
		p.b[i] = float32(sum * p.factor)
	}
	b, at := p.block()
	place, signs := p.kind.get(b, at)
	p.now = pointChoice{place: place, signs: signs}
	p.now.error = p.error(&p.now)
	p.tries[0], p.count = p.now, 1
	if !p.kind.signs {
		return
	}
	if free := p.freeSigns(values, slope, h, stride); free != signs {
		p.tries[1], p.count = p.now, 2
		p.tries[1].signs = free
	}
}

// freeSigns are those of the weights that would be best one by one; where their number has to be even, the one that
// matters least is turned.
func (p *Points) freeSigns(values, slope, h []float32, stride int) (signs uint8) {
	weakest, least := 0, float32(greatestFloat)
	for i := range PointLen {
		d, x := h[i*stride+i], values[i]
		if d > 0 {
			x += slope[i] / d
		}
		if x*p.factor < 0 {
			signs |= 1 << i
		}
		if e := float32(float32(x*x) * d); e < least {
			weakest, least = i, e
		}
	}
	if p.kind.even && bits.OnesCount8(signs)&1 != 0 {
		signs ^= 1 << weakest
	}
	return signs
}

// values are those of a choice, before scaling.
func (p *Points) values(c *pointChoice) (v [PointLen]float32) {
	table, size := p.kind.value(), p.kind.size
	if !p.kind.signs && c.signs != 0 {
		table = table[len(table)/2:]
	}
	for i := range v {
		v[i] = table[int(c.place[i/size])*size+i%size]
		if p.kind.signs && c.signs>>i&1 != 0 {
			v[i] = -v[i]
		}
	}
	return v
}

// error is the error of a choice, but for a constant.
func (p *Points) error(c *pointChoice) (sum float32) {
	v := p.values(c)
	for i, x := range v {
		row := &p.m[i]
		y := -2 * p.b[i]
		for j, z := range v {
			y += float32(row[j] * z)
		}
		sum += float32(x * y)
	}
	return sum
}

// CoefficientsTo sets dst to the coefficients of a candidate's error, of which the features of a half's points are
// multiplied. It reports whether there is such a candidate.
func (p *Points) CoefficientsTo(dst []float32, candidate, half int) bool {
	if candidate >= p.count {
		return false
	}
	c, k := &p.tries[candidate], p.kind
	first := half * k.size
	var sign [PointLen]float32
	for i := range sign {
		sign[i] = 1
		if k.signs && c.signs>>i&1 != 0 {
			sign[i] = -1
		}
	}
	v := p.values(c)
	n := 0
	for i := first; i < first+k.size; i++ {
		dst[n] = p.m[i][i]
		n++
		for j := i + 1; j < first+k.size; j++ {
			dst[n] = 2 * p.m[i][j] * sign[i] * sign[j]
			n++
		}
	}
	for i := first; i < first+k.size; i++ {
		b := p.b[i]
		for j, x := range v {
			if j < first || j >= first+k.size {
				b -= float32(p.m[i][j] * x)
			}
		}
		dst[n] = -2 * b * sign[i]
		n++
	}
	return true
}

// Choose takes the point of least error for a half of a candidate: errors are the products of its coefficients with the
// features of all points.
func (p *Points) Choose(errors []float32, candidate, half int) {
	c := &p.tries[candidate]
	from, to := 0, len(errors)
	if !p.kind.signs && !p.kind.shift { // raised or lowered as they are
		from, to = int(c.signs)*to/2, int(c.signs+1)*to/2
	}
	best := from
	least := errors[from]
	for i, e := range errors[from:to] {
		if e < least {
			best, least = from+i, e
		}
	}
	if !p.kind.signs {
		c.signs = uint8(best * 2 / len(errors))
		best -= int(c.signs) * len(errors) / 2
	}
	c.place[half] = uint16(best)
}

// A PointMove is what End has done.
type PointMove struct {
	By   [PointLen]float32 // the change of each weight
	Fall float32           // by how much the error is smaller
}

// End takes the best candidate where its error is smaller, and reports whether it has.
func (p *Points) End(move *PointMove) bool {
	best := p.now
	for i := range p.count {
		c := &p.tries[i]
		c.error = p.error(c)
		if p.kind.signs {
			p.flip(c)
		}
		if c.error < best.error {
			best = *c
		}
	}
	move.Fall = p.now.error - best.error
	if best.place == p.now.place && best.signs == p.now.signs || !(move.Fall > 0) {
		return false
	}
	b, at := p.block()
	p.kind.set(b, at, best.place, best.signs)
	was, is := p.values(&p.now), p.values(&best)
	for j := range is {
		move.By[j] = float32(p.factor*is[j]) - float32(p.factor*was[j])
	}
	return true
}

// flip changes signs, two at a time where their number is even, as long as that lets the error fall.
func (p *Points) flip(c *pointChoice) {
	v := p.values(c)
	for {
		var change [PointLen]float32 // of the error if weight i is turned
		for i, x := range v {
			y := -p.b[i]
			for j, z := range v {
				if j != i {
					y += float32(p.m[i][j] * z)
				}
			}
			change[i] = -4 * float32(x*y)
		}
		turn, least := uint8(0), float32(0)
		for i := range PointLen {
			if !p.kind.even {
				if change[i] < least {
					turn, least = 1<<i, change[i]
				}
				continue
			}
			for j := range i {
				if e := change[i] + change[j] + float32(8*float32(float32(v[i]*v[j])*p.m[i][j])); e < least {
					turn, least = 1<<i|1<<j, e
				}
			}
		}
		if turn == 0 {
			return
		}
		try := *c
		try.signs ^= turn
		if try.error = p.error(&try); !(try.error < c.error) {
			return
		}
		*c, v = try, p.values(&try)
	}
}

// Candidates is how many candidates there are.
func (p *Points) Candidates() int { return p.count }
