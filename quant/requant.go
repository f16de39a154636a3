package quant

import (
	"sync"

	"github.com/peftconv/peftconv/gguf"
)

// Requantization changes blocks without changing their type. A weight is scale·value(code) + offset: every group of
// weights has a scale and, in some types, an offset (zero point), and each weight has a code. SetScales changes scales
// and offsets and keeps the codes. SetCodes changes codes and keeps scales and offsets. Both write whole blocks of the
// same type, and both return the bytes of the base where nothing changes. The result depends on the arguments alone:
// not on the processor, nor on how rows are shared between threads.

// floatGroup is the number of weights that share a factor where the type has no blocks.
const floatGroup = 32

// GroupLen is the number of weights of type t that share a scale; the last group of a row of floats may be shorter. It
// is 0 for types that are not supported.
func GroupLen(t gguf.Type) int {
	if g := layoutOf(t); g != nil {
		return g.group
	}
	if isFloat(t) {
		return floatGroup
	}
	return 0
}

// HasOffsets says whether groups of type t have an offset beside their scale.
func HasOffsets(t gguf.Type) bool {
	g := layoutOf(t)
	return g != nil && g.affine || isFloat(t)
}

// HasScales says whether the scales of type t can change by less than a factor of two.
func HasScales(t gguf.Type) bool { return t != gguf.MXFP4 && GroupLen(t) > 0 }

// HasCodes says whether each weight of type t has a code of its own, which SetCodes can change.
func HasCodes(t gguf.Type) bool {
	g := layoutOf(t)
	return g != nil && g.unpack != nil || isFloat(t)
}

func isFloat(t gguf.Type) bool { return t == gguf.F32 || t == gguf.F16 || t == gguf.BF16 }

// Groups is the number of groups in a row.
func (m Matrix) Groups() int {
	n := GroupLen(m.Type)
	if n == 0 {
		panic("quant: Groups of an unsupported block type")
	}
	return (m.Cols + n - 1) / n
}

// Scales sets scale and offset, Groups of each, to those of row r. A type without offsets has zeros; floats have the
// scale 1 and the offset 0.
func (m Matrix) Scales(scale, offset []float32, r int) {
	if n := m.Groups(); len(scale) != n || len(offset) != n {
		panic("quant: Scales into slices that are not Groups long")
	}
	if isFloat(m.Type) {
		for i := range scale {
			scale[i], offset[i] = 1, 0
		}
		return
	}
	f, g := mustLookup(m.Type), layoutOf(m.Type)
	size := m.RowSize()
	row := m.Data[r*size:][:size]
	perBlock := f.weights / g.group
	work := blockWorks.Get().(*blockWork)
	defer blockWorks.Put(work)
	b := &work.have
	for at := 0; len(row) > 0; at += perBlock {
		g.load(row[:f.bytes], b)
		copy(scale[at:at+perBlock], b.scale[:])
		copy(offset[at:at+perBlock], b.offset[:])
		row = row[f.bytes:]
	}
}

// SetScales sets dst to a row of blocks with the codes of base and the given scales and offsets of its groups (see
// Matrix.Scales), rounded to what the type can store. A block whose scales and offsets all stay the same is copied.
// Where several groups share a half precision factor, this factor and the integers of the groups are fitted again so
// that the summed square of the weights' errors is small.
//
// A row of floats becomes scale·base + offset, rounded to the type.
func SetScales(t gguf.Type, dst, base []byte, scale, offset []float32) {
	if len(dst) != len(base) {
		panic("quant: SetScales into more or fewer bytes than the base has")
	}
	if isFloat(t) {
		setScalesOfFloats(t, dst, base, scale, offset)
		return
	}
	f, g := mustLookup(t), layoutOf(t)
	perBlock := f.weights / g.group
	if len(base)%f.bytes != 0 || len(base)/f.bytes*perBlock != len(scale) || len(offset) != len(scale) {
		panic("quant: SetScales of a part of a block or with more or fewer scales than groups")
	}
	copy(dst, base)
	work := blockWorks.Get().(*blockWork)
	defer blockWorks.Put(work)
	have, want := &work.have, &work.want
	for len(dst) > 0 {
		b := dst[:f.bytes]
		g.load(b, have)
		copy(want.scale[:perBlock], scale)
		copy(want.offset[:perBlock], offset)
		if !have.equal(want, perBlock) {
			g.measure(b, work, perBlock)
			g.store(b, want)
		}
		dst, scale, offset = dst[f.bytes:], scale[perBlock:], offset[perBlock:]
	}
}

// A Rounding says how SetCodes rounds a weight to a code. The zero value rounds to nearest.
type Rounding struct {
	// Stochastic is stochastic rounding: a threshold u, 0 ≤ u < 1, for each weight. A weight rounds up when it lies at
	// least 1 - u of a step above the lower code. With uniform numbers the mean over many weights changes as asked,
	// however small the changes are. nil is 1/2 for all.
	Stochastic []float32
	// Master holds the master weights, from which base was quantized. Changes are added to these instead of to the
	// weights of base, but each is first limited to the cell of its code in base. It replaces Stochastic.
	Master []float32
}

// SetCodes sets dst to a row of blocks with the scales and offsets of base and the codes that base + change rounds to.
// dst and base may be the same. A weight whose change is 0 keeps its code. Floats become base + change, rounded to the
// type.
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
	if g.unpack == nil {
		panic("quant: SetCodes of a type whose weights have no code of their own")
	}
	if len(change)%f.weights != 0 || len(base) != len(change)/f.weights*f.bytes {
		panic("quant: SetCodes of a part of a block or with more or fewer changes than weights")
	}
	copy(dst, base)
	work := blockWorks.Get().(*blockWork)
	defer blockWorks.Put(work)
	have, codes := &work.have, &work.codes
	for at := 0; at < len(change); at += f.weights {
		b := dst[:f.bytes]
		g.load(b, have)
		g.unpack(codes, b)
		changed := false
		for i := range f.weights / g.group {
			from, l := at+i*g.group, codes[i*g.group:][:g.group]
			changed = g.roundGroup(l, change[from:from+g.group], have.scale[i], have.offset[i], round.part(from, g.group)) || changed
		}
		if changed {
			g.pack(b, codes)
		}
		dst = dst[f.bytes:]
	}
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
		return roundEven(codes, change, inverse, len(g.values)-1, round.Stochastic)
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
// change + up.
func roundEven(codes []uint8, change []float32, inverse float32, top int, thresholds []float32) (changed bool) {
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
		f := float32(codes[i]) + float32(d*inverse) + up
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

// setScalesOfFloats is SetScales of floats.
func setScalesOfFloats(t gguf.Type, dst, base []byte, scale, offset []float32) {
	f := mustLookup(t)
	n := len(base) / f.bytes
	if (n+floatGroup-1)/floatGroup != len(scale) || len(offset) != len(scale) {
		panic("quant: SetScales with more or fewer scales than groups")
	}
	copy(dst, base)
	var x [floatGroup]float32
	for i, s := range scale {
		if s == 1 && offset[i] == 0 {
			continue
		}
		from, to := i*floatGroup, min(n, (i+1)*floatGroup)
		group := x[:to-from]
		f.dequantize(group, base[from*f.bytes:])
		for j, v := range group {
			group[j] = float32(v*s) + offset[i]
		}
		f.quantize(dst[from*f.bytes:to*f.bytes], group)
	}
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

// A blockScales is the scales and offsets of one block.
type blockScales struct {
	scale, offset [16]float32
	mean, spread  [16]float32 // of the values in each group: their mean and their variance
}

// blockWork is memory for one block: arguments of function values would be allocated on the heap for each call.
type blockWork struct {
	have, want blockScales
	codes      [weightsK]uint8
}

var blockWorks = sync.Pool{New: func() any { return new(blockWork) }}

// equal compares the first n groups.
func (g *blockScales) equal(o *blockScales, n int) bool {
	for i := range n {
		if g.scale[i] != o.scale[i] || g.offset[i] != o.offset[i] {
			return false
		}
	}
	return true
}

// measure computes the mean and the variance of the values. Without codes all groups count the same.
func (g *layout) measure(b []byte, work *blockWork, groups int) {
	scales := &work.want
	if !g.shared {
		return
	}
	if g.unpack == nil {
		for i := range groups {
			scales.mean[i], scales.spread[i] = 0, 1
		}
		return
	}
	codes := &work.codes
	g.unpack(codes, b)
	for i := range groups {
		scales.mean[i], scales.spread[i] = g.moments(codes[i*g.group:][:g.group])
	}
}

// moments are the mean and the variance of the values of some codes.
func (g *layout) moments(codes []uint8) (mean, spread float32) {
	n := float32(len(codes))
	if g.even && g.ranks == nil {
		var sum, squares int
		for _, l := range codes {
			v := int(l)
			sum += v
			squares += v * v
		}
		mean = float32(sum) / n
		return mean + g.values[0], float32(squares)/n - float32(mean*mean)
	}
	var sum, squares float32 // exact: values are small whole numbers
	for _, l := range codes {
		v := g.values[g.rank(l)]
		sum += v
		squares += float32(v * v)
	}
	mean = sum / n
	return mean, squares/n - float32(mean*mean)
}

// clampHalf is the half precision number nearest to f, at most the largest one.
func clampHalf(f float32) float32 {
	const largest = 65504
	return halfToFloat(floatToHalf(min(max(f, -largest), largest)))
}
