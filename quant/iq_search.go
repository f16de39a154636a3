package quant

import (
	"math"
	"math/bits"

	"github.com/peftconv/peftconv/kernels"
)

// evenSigns[s] is highBits of the seven bits of s and an eighth that makes their number even.
var evenSigns = func() (masks [128]uint64) {
	for s := range masks {
		masks[s] = highBits(byte(s | bits.OnesCount8(uint8(s))<<7))
	}
	return masks
}()

// signedValues is a table for scaleCodes of codes with their sign in the highest bit.
func signedValues(values ...float32) *[256]float32 {
	var table [256]float32
	for i, v := range values {
		table[i], table[128+i] = v, -v
	}
	return &table
}

// A latticeSearch describes the search for the points and the scales of a super-block of an IQ2 or IQ3 format. Each
// weight is a sign and scale·(2·code+1); the codes form a point of the lattice.
type latticeSearch struct {
	*lattice
	group  int     // weights that share a scale
	even   bool    // the number of negative signs of eight is even; where it is not, the least important sign is flipped
	tries  int     // scales on either side of the first
	step   float32 // between the numbers of codes to which they scale the greatest weight
	least  float32 // a group whose weights are all smaller is zero
	refit  refitRule
	start  bool    // starts from a search without the lattice
	spread float32 // times the mean square: what the error weights add to the square of each weight
	plain  float32 // times that: what they add without importance
	boost  float32 // of the scale in the end

	bytes int // of a super-block
	pack  func(b []byte, found *latticeBlock)
}

// refitRule says which points are searched again when the scale is known.
type refitRule int

const (
	refitOff    refitRule = iota // those whose codes were not on the lattice
	refitIfOff                   // all, if there was one
	refitAlways                  // all
)

// A latticeBlock is the result of the search for a super-block.
type latticeBlock struct {
	d      float32     // already boosted
	scale  [16]uint8   // 0 to 15, a group
	place  [64]uint16  // index of the points
	sign   [32]uint8   // of eight weights
	zero   [16]bool    // groups of weights too small to be searched
	scales [16]float32 // before they are rounded
}

// A latticeGroup is a group of weights under search.
type latticeGroup struct {
	n      int
	x      [maxGroup]float32 // magnitudes, negative where the sign was flipped
	w      [maxGroup]float32 // weights of the errors
	root   [maxGroup]float32 // their square roots, the weights between points
	codes  [maxGroup]uint8
	trial  [maxGroup]uint8
	sign   [4]uint8
	moved  [8]bool // points whose codes were not on the lattice
	moving [8]bool // those of the trial
}

// quantize fills the blocks of dst from src, one row or, without importance, any number of blocks.
func (s *latticeSearch) quantize(dst []byte, src, importance []float32) {
	var found latticeBlock
	var lanes *kernels.PointTrials
	if haveLanes() {
		lanes = pointTrials.Get().(*kernels.PointTrials)
		defer pointTrials.Put(lanes)
	}
	for len(src) >= weightsK && len(dst) >= s.bytes {
		s.block(&found, (*[weightsK]float32)(src), importance, lanes)
		s.pack(dst[:s.bytes], &found)
		src, dst = src[weightsK:], dst[s.bytes:]
		if importance != nil {
			importance = importance[weightsK:]
		}
	}
}

// block searches the super-block of x. importance may be nil where the format allows, lanes where there is no
// assembly.
func (s *latticeSearch) block(b *latticeBlock, x *[weightsK]float32, importance []float32, lanes *kernels.PointTrials) {
	*b = latticeBlock{}
	mean := float32(s.spread * sumSquares(x[:]) / weightsK)
	var greatest float32
	for i := range weightsK / s.group {
		at := i * s.group
		g := latticeGroup{n: s.group}
		switch {
		case importance != nil:
			kernels.ErrorWeights(g.w[:g.n], x[at:][:g.n], importance[at:][:g.n], mean)
		case s.plain != 0:
			squares(g.w[:g.n], x[at:], float32(s.plain*mean))
		default:
			squares(g.w[:g.n], x[at:], 0)
		}
		g.takeSigns(x[at:], s.even)
		scale, ok := s.fit(&g, lanes)
		if !ok {
			b.zero[i] = true
			continue
		}
		if scale < 0 {
			scale = -scale
			for j := range g.sign {
				g.sign[j] = ^g.sign[j]
			}
		}
		for j := range g.n / s.size {
			b.place[at/s.size+j] = uint16(s.at(g.codes[j*s.size:]))
		}
		copy(b.sign[at/8:], g.sign[:g.n/8])
		b.scales[i] = scale
		if !(greatest > scale) {
			greatest = scale
		}
	}
	s.roundScales(b, greatest)
}

// roundScales sets d and the rounded scales: a scale is d·(code + 1/2), twice.
func (s *latticeSearch) roundScales(b *latticeBlock, greatest float32) {
	if greatest == 0 {
		if s.even {
			*b = latticeBlock{}
		}
		return
	}
	d := greatest / 31
	b.d = float32(d * s.boost)
	inverse := 1 / d
	for i, scale := range b.scales[:weightsK/s.group] {
		b.scale[i] = uint8(nearestClamped(0.5*(float32(inverse*scale)-1), 0, 15))
	}
}

// takeSigns splits the weights into signs and magnitudes, once their error weights are known.
func (g *latticeGroup) takeSigns(x []float32, even bool) {
	for i, w := range g.w[:g.n] {
		g.root[i] = sqrtf(w)
	}
	for i, v := range x[:g.n] {
		b := math.Float32bits(v)
		negative := notPositive(b)
		g.x[i] = math.Float32frombits(b ^ negative<<31)
		g.sign[i/8] |= uint8(negative << (i % 8))
	}
	if !even {
		return
	}
	for i := 0; i < g.n; i += 8 {
		if bits.OnesCount8(g.sign[i/8])%2 == 1 {
			j := g.leastImportant(i)
			g.x[j] = -g.x[j]
			g.sign[i/8] ^= 1 << (j % 8)
		}
	}
}

// notPositive is 1 for the bits of a number v with !(v >= 0), else 0. Signs are random, so it does not branch.
func notPositive(b uint32) uint32 {
	const infinity, minusZero = 0x7f800000, 1 << 31
	beyond, isZero := (infinity-uint64(b))>>63, (uint64(b^minusZero)-1)>>63
	return uint32(beyond &^ isZero)
}

// leastImportant is the one of eight weights whose sign can be wrong at the least cost.
func (g *latticeGroup) leastImportant(first int) int {
	best := first
	least := g.w[first] * g.x[first] * g.x[first]
	for i := first + 1; i < first+8; i++ {
		if e := g.w[i] * g.x[i] * g.x[i]; e < least {
			best, least = i, e
		}
	}
	return best
}

// fit finds scale and codes of the group, all of them on the lattice; ok is false where it is zero.
func (s *latticeSearch) fit(g *latticeGroup, lanes *kernels.PointTrials) (scale float32, ok bool) {
	scale, top, ok := s.begin(g)
	if !ok {
		return 0, false
	}
	if s.refit == refitIfOff {
		g.moved = [8]bool{true, true, true, true, true, true, true, true}
	}
	if lanes != nil {
		scale = s.tryInLanes(g, lanes, scale, top)
	} else {
		scale = s.try(g, scale, top)
	}
	return s.refitted(g, scale, lanes), true
}

// begin is the scale to start from and the greatest weight that it stands for.
func (s *latticeSearch) begin(g *latticeGroup) (scale, top float32, ok bool) {
	x := g.x[:g.n]
	top = x[0]
	for _, v := range x[1:] {
		if !(top > v) {
			top = v
		}
	}
	if top < s.least || top == 0 {
		return 0, 0, false
	}
	if !s.start {
		return top / s.odd(), top, true
	}
	scale = fitPositive(g.codes[:g.n], x, g.w[:g.n], s.radix+1)
	top = float32(scale * float32(s.radix))
	return scale, top, !(top <= 0)
}

// odd is the value of the highest code.
func (s *latticeSearch) odd() float32 { return float32(2*s.radix - 1) }

// trial is the number of codes per unit for scale number i, from -tries to tries; top is the greatest weight.
func (s *latticeSearch) trial(i int, top float32) (inverse float32) {
	return (s.odd() + float32(float32(i)*s.step)) / top
}

// try tries scales one by one, and returns the best.
func (s *latticeSearch) try(g *latticeGroup, scale, top float32) float32 {
	near := s.near()
	var best float32
	for i := -s.tries; i <= s.tries; i++ {
		inverse := s.trial(i, top)
		trialScale := 1 / inverse
		for j := range g.n / s.size {
			g.moving[j] = s.snap(near, g, &g.trial, j*s.size, inverse, trialScale)
		}
		if qx, qq := g.sums(&g.trial); qq > 0 && qx*qx > best*qq {
			scale = qx / qq
			best = scale * qx
			g.codes, g.moved = g.trial, g.moving
		}
	}
	return scale
}

// snap sets the codes of the point that begins at weight i: the nearest codes if they are on the lattice, else those
// of the neighbour with the least error. It reports whether they were not on the lattice.
func (s *latticeSearch) snap(
	near *nearPoints, g *latticeGroup, codes *[maxGroup]uint8, i int, inverse, scale float32,
) bool {
	x, q := g.x[i:][:s.size], codes[i:][:s.size]
	number := 0
	for j := len(x) - 1; j >= 0; j-- {
		l := nearestClamped(0.5*(float32(inverse*x[j])-1), 0, s.radix-1)
		q[j] = uint8(l)
		number = number*s.radix + l
	}
	place := near.place[number]
	if place >= 0 {
		return false
	}
	point := s.points[near.nearest(place, near.odd, x, g.root[i:], scale)]
	for j := range q {
		q[j] = uint8(point)
		point >>= 8
	}
	return true
}

// sums is Σ w·q·x and Σ w·q² with q = 2·code+1.
func (g *latticeGroup) sums(codes *[maxGroup]uint8) (qx, qq float32) {
	for i, v := range g.x[:g.n] {
		q := unsigned[2*codes[i]+1]
		w := g.w[i]
		qx += float32(float32(w*v) * q)
		qq += float32(float32(w*q) * q)
	}
	return qx, qq
}

// refitted searches points again with the scale that was found, and returns the best scale for them.
func (s *latticeSearch) refitted(g *latticeGroup, scale float32, lanes *kernels.PointTrials) float32 {
	off := s.refit == refitAlways
	for j := range g.n / s.size {
		off = off || g.moved[j]
	}
	if !off || !(scale > 0) {
		return scale
	}
	near, inverse := s.near(), 1/scale
	for j := range g.n / s.size {
		switch {
		case !g.moved[j] && s.refit == refitOff:
		case lanes != nil:
			lanes.Inverse[0], lanes.Scale[0] = inverse, scale
			s.snapInLanes(g, lanes, j, 1)
			s.take(g, lanes, j, 0)
		default:
			s.snap(near, g, &g.codes, j*s.size, inverse, scale)
		}
	}
	if qx, qq := g.sums(&g.codes); qq > 0 {
		return qx / qq
	}
	return scale
}
