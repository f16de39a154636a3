package quant

import (
	"bytes"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// HasCodes says whether SetCodes can change the codes of weights of type t, or what is in their place: floats, and the
// points of a lattice.
func HasCodes(t gguf.Type) bool { return HasIntegerCodes(t) || isFloat(t) || HasPoints(t) }

// HasIntegerCodes says whether each weight of type t has a code of its own, with a scale.
func HasIntegerCodes(t gguf.Type) bool {
	g := layoutOf(t)
	return g != nil && g.unpack != nil
}

// A Rounding says how SetCodes rounds a weight to a code. The zero value rounds to nearest.
type Rounding struct {
	// Stochastic is stochastic rounding: a threshold u, 0 ≤ u < 1, for each weight. A weight rounds up when it is at
	// least 1 - u of a step above the lower code. With uniform numbers the mean over many weights changes as asked,
	// however small the changes are. nil is 1/2 for all.
	Stochastic []float32
	// Master holds the master weights, from which base was quantized. Changes are added to these instead of to the
	// weights of base, but each is first limited to the cell of its code in base. It replaces Stochastic.
	Master []float32
}

// SetCodes sets dst to a row of blocks with the scales and offsets of base and the codes that base + change rounds to.
// dst and base may be the same. A weight whose change is 0 keeps its code, and eight weights with no change keep their
// points (HasPoints). Floats become base + change, rounded to the type.
func SetCodes(t gguf.Type, dst, base []byte, change []float32, round Rounding) {
	if len(dst) != len(base) || round.Stochastic != nil && len(round.Stochastic) != len(change) ||
		round.Master != nil && len(round.Master) != len(change) {
		panic("quant: SetCodes of slices of different lengths")
	}
	if isFloat(t) {
		setCodesOfFloats(t, dst, base, change, round)
		return
	}
	f, g := mustLookup(t), layoutOf(t)
	if !HasCodes(t) {
		panic("quant: SetCodes of a type whose weights have no code of their own")
	}
	if len(change)%f.weights != 0 || len(base) != len(change)/f.weights*f.bytes {
		panic("quant: SetCodes of a part of a block or with more or fewer changes than weights")
	}
	if HasPoints(t) {
		setPointCodes(t, dst, base, change, round)
		return
	}
	copy(dst, base)
	work := blockWorks.Get().(*blockWork)
	defer blockWorks.Put(work)
	have, codes := &work.have, &work.codes
	for at := 0; at < len(change); at += f.weights {
		if g.roundsTogether(round) {
			if n := g.roundBlocks(f, dst, change[at:], round.Stochastic[at:], work); n > 0 {
				at, dst = at+(n-1)*f.weights, dst[n*f.bytes:]
				continue
			}
		}
		b := dst[:f.bytes]
		g.load(b, have)
		g.unpack(codes, b)
		changed := false
		for i := range f.weights / g.group {
			from, group := at+i*g.group, codes[i*g.group:][:g.group]
			part := round.part(from, g.group)
			changed = g.roundGroup(group, change[from:from+g.group], have.scale[i], have.offset[i], part) || changed
		}
		if changed {
			g.pack(b, codes)
		}
		dst = dst[f.bytes:]
	}
}

// roundBlocks rounds the codes of the first blocks of dst, up to weightsK, and returns the number of blocks: 0 where
// one of their scales is not regular.
func (g *layout) roundBlocks(f *format, dst []byte, change, up []float32, work *blockWork) (n int) {
	n = min(weightsK, len(change)) / f.weights
	groups, size, scales := f.weights/g.group, n*f.weights, &work.scales
	if g.loadEach != nil {
		g.loadEach(scales[:n], dst, f.bytes)
	} else {
		for i := range n {
			g.load(dst[i*f.bytes:][:f.bytes], &work.have)
			copy(scales[i*groups:][:groups], work.have.scale[:])
		}
	}
	if !invert(work.inverse[:n*groups], scales[:]) {
		return 0
	}
	for i := range n {
		g.unpack((*[weightsK]uint8)(work.old[i*f.weights:]), dst[i*f.bytes:][:f.bytes])
	}
	codes := work.rounded[:size]
	copy(codes, work.old[:])
	kernels.RoundLevels(codes, change[:size], g.group, work.inverse[:n*groups], up[:size], g.from, len(g.values)-1)
	for i := range n {
		if from := i * f.weights; !bytes.Equal(work.old[from:from+f.weights], codes[from:from+f.weights]) {
			g.pack(dst[i*f.bytes:][:f.bytes], (*[weightsK]uint8)(work.rounded[from:]))
		}
	}
	return n
}

// roundsTogether reports whether the codes of blocks are rounded at once where their scales are regular.
func (g *layout) roundsTogether(round Rounding) bool {
	return g.even && g.ranks == nil && round.Stochastic != nil && round.Master == nil && g.group%16 == 0
}

// invert sets the inverses of scales, and reports whether they and the scales are numbers other than 0.
func invert(inverse, scales []float32) (regular bool) {
	scales = scales[:len(inverse)]
	for i, s := range scales {
		v := 1 / s
		if s == 0 || s-s != 0 || v-v != 0 {
			return false
		}
		inverse[i] = v
	}
	return true
}

// part is the rounding of n weights.
func (r Rounding) part(at, n int) Rounding {
	if r.Stochastic != nil {
		r.Stochastic = r.Stochastic[at : at+n]
	}
	if r.Master != nil {
		r.Master = r.Master[at : at+n]
	}
	return r
}

// roundGroup changes the codes of one group and reports whether any changed.
func (g *layout) roundGroup(codes []uint8, change []float32, scale, offset float32, round Rounding) (changed bool) {
	if scale == 0 || scale-scale != 0 {
		return false
	}
	inverse := 1 / scale
	if g.even && g.ranks == nil && round.Master == nil {
		return roundEven(codes, change, inverse, g.from, len(g.values)-1, round.Stochastic)
	}
	up := float32(0.5)
	for i, d := range change {
		if d == 0 {
			continue
		}
		rank := g.rank(codes[i])
		value := g.values[rank]
		aim := value + float32(d*inverse)
		switch {
		case round.Master != nil:
			aim += g.inCell(rank, float32((round.Master[i]-offset)*inverse)-value)
		case round.Stochastic != nil:
			up = round.Stochastic[i]
		}
		if to := g.nearest(rank, aim, up); to != rank {
			codes[i] = g.code(to)
			changed = true
		}
	}
	return changed
}

// roundEven is roundGroup for values that are 1 apart with the codes as ranks: the new code is the whole part of code +
// change + up. The sum is one of numbers that are counted from another than 0.
func roundEven(codes []uint8, change []float32, inverse, from float32, top int, thresholds []float32) (changed bool) {
	up, most := float32(0.5), float32(top)
	codes = codes[:len(change)]
	if thresholds != nil {
		thresholds = thresholds[:len(change)]
	}
	for i, d := range change {
		if d == 0 {
			continue
		}
		if thresholds != nil {
			up = thresholds[i]
		}
		f := float32(codes[i]) + from + float32(d*inverse) + up - from
		switch { // compared as floats: the change may be far beyond the integers
		case !(f >= 0):
			f = 0
		case f > most:
			f = most
		}
		to := uint8(f)
		changed = changed || to != codes[i]
		codes[i] = to
	}
	return changed
}

// setCodesOfFloats is SetCodes of floats.
func setCodesOfFloats(t gguf.Type, dst, base []byte, change []float32, round Rounding) {
	f := mustLookup(t)
	if len(base) != len(change)*f.bytes {
		panic("quant: SetCodes with more or fewer changes than weights")
	}
	var x [1]float32
	for i, d := range change {
		b := base[i*f.bytes:][:f.bytes]
		if d == 0 {
			copy(dst[i*f.bytes:], b)
			continue
		}
		f.dequantize(x[:], b)
		if round.Master != nil {
			if y := round.Master[i]; absf(y-x[0]) <= absf(x[0])*0x1p-9 {
				x[0] = y
			}
		}
		x[0] += d
		f.quantize(dst[i*f.bytes:][:f.bytes], x[:])
	}
}

// rank is the index of a code's value among the ascending values.
func (g *layout) rank(code uint8) int {
	if g.ranks != nil {
		return int(g.ranks[code])
	}
	return int(code)
}

// code is the inverse of rank.
func (g *layout) code(rank int) uint8 {
	if g.codes != nil {
		return g.codes[rank]
	}
	return uint8(rank)
}

// nearest is the rank of the value nearest to aim, searched from a rank nearby. It rounds up when at most the fraction
// up of a step is missing.
func (g *layout) nearest(rank int, aim, up float32) int {
	v := g.values
	if g.even {
		f := aim + up - v[0]
		switch { // compared as floats: the change may be far beyond the integers
		case !(f >= 0):
			return 0
		case f >= float32(len(v)):
			return len(v) - 1
		}
		return int(f)
	}
	for rank+1 < len(v) && aim >= v[rank+1]-float32((v[rank+1]-v[rank])*up) {
		rank++
	}
	for rank > 0 && aim < v[rank]-float32((v[rank]-v[rank-1])*up) {
		rank--
	}
	return rank
}

// inCell limits the distance of a master weight from the value of its rank to a little less than half a step.
func (g *layout) inCell(rank int, off float32) float32 {
	const share = 0.4999
	v := g.values
	below, above := v[max(rank, 1)]-v[max(rank, 1)-1], v[min(rank+1, len(v)-1)]-v[min(rank, len(v)-2)]
	if off != off {
		return 0
	}
	return min(max(off, -share*below), share*above)
}

// Codes are the codes of a row of blocks. They can be changed one by one, where SetCodes changes a whole row at once.
// Scales and offsets stay the same.
type Codes struct {
	layout        *layout
	format        *format
	base          []byte
	codes         []uint8   // of each weight
	scale, offset []float32 // of each group
}

// Load reads the codes of a row of blocks of a type that HasIntegerCodes. The row must not change before Store.
func (l *Codes) Load(t gguf.Type, row []byte) {
	if !HasIntegerCodes(t) {
		panic("quant: Codes of a type whose weights have no code of their own")
	}
	l.layout, l.format, l.base = layoutOf(t), mustLookup(t), row
	l.codes, l.scale, l.offset = l.codes[:0], l.scale[:0], l.offset[:0]
	work := blockWorks.Get().(*blockWork)
	defer blockWorks.Put(work)
	groups := l.format.weights / l.layout.group
	for ; len(row) > 0; row = row[l.format.bytes:] {
		b := row[:l.format.bytes]
		l.layout.load(b, &work.have)
		l.layout.unpack(&work.codes, b)
		l.codes = append(l.codes, work.codes[:l.format.weights]...)
		l.scale = append(l.scale, work.have.scale[:groups]...)
		l.offset = append(l.offset, work.have.offset[:groups]...)
	}
}

// Round rounds aim to a code for weight i and returns the new weight. It rounds up when at most the fraction up of a
// step is missing (see Rounding.Stochastic). A weight whose scale is 0 stays.
func (l *Codes) Round(i int, aim, up float32) float32 {
	group := i / l.layout.group
	scale, offset := l.scale[group], l.offset[group]
	rank := l.layout.rank(l.codes[i])
	if scale != 0 && scale-scale == 0 {
		if to := l.layout.nearest(rank, (aim-offset)/scale, up); to != rank {
			l.codes[i] = l.layout.code(to)
			rank = to
		}
	}
	return float32(scale*l.layout.values[rank]) + offset
}

// Store writes the row with its current codes to dst.
func (l *Codes) Store(dst []byte) {
	if len(dst) != len(l.base) {
		panic("quant: Codes stored in more or fewer bytes than they were loaded from")
	}
	copy(dst, l.base)
	work := blockWorks.Get().(*blockWork)
	defer blockWorks.Put(work)
	for codes := l.codes; len(dst) > 0; dst = dst[l.format.bytes:] {
		copy(work.codes[:], codes[:l.format.weights])
		l.layout.pack(dst[:l.format.bytes], &work.codes)
		codes = codes[l.format.weights:]
	}
}
