package quant

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// HasOffsets says whether groups of type t have an offset beside their scale.
func HasOffsets(t gguf.Type) bool {
	g := layoutOf(t)
	return g != nil && g.affine || isFloat(t)
}

// HasScales says whether the scales of type t can change by less than a factor of two.
func HasScales(t gguf.Type) bool { return t != gguf.MXFP4 && GroupLen(t) > 0 }

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
	if g.loadEach != nil {
		g.loadEach(scale, row, f.bytes)
		clear(offset)
		return
	}
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
	if g.storeEach != nil {
		g.storeEach(dst, f.bytes, scale)
		return
	}
	work := blockWorks.Get().(*blockWork)
	defer blockWorks.Put(work)
	have, together := &work.have, &work.together
	limit := 1
	if g.storeTogether != nil && haveEights() {
		limit = blocksTogether
	}
	for len(dst) > 0 {
		b, want := dst[:f.bytes], &together.scales[together.n]
		g.load(b, have)
		copy(want.scale[:perBlock], scale)
		copy(want.offset[:perBlock], offset)
		dst, scale, offset = dst[f.bytes:], scale[perBlock:], offset[perBlock:]
		if !have.equal(want, perBlock) {
			g.measure(b, want, &work.codes, perBlock)
			together.blocks[together.n] = b
			together.n++
		}
		if together.n == limit || len(dst) == 0 {
			g.storeAll(together, limit)
		}
	}
}

// blocksTogether is how many blocks are fitted at once where there is assembly for it.
const blocksTogether = 8

// changedBlocks are blocks with the scales and offsets that they are to have, and memory for fitting them at once.
type changedBlocks struct {
	n      int
	blocks [blocksTogether][]byte
	scales [blocksTogether]blockScales

	fits, minima    kernels.ScaleFits
	mean, low       kernels.SubScales // of each group: that of the codes, and the wanted minimum
	pairs           [2]kernels.ScalePairs
	codes, minCodes [blocksTogether]subScaleCodes // of the base
}

// storeAll stores the scales of the blocks, whose number becomes 0.
func (g *layout) storeAll(c *changedBlocks, limit int) {
	if limit > 1 && c.n > 0 {
		g.storeTogether(c)
	} else {
		for i, b := range c.blocks[:c.n] {
			g.store(b, &c.scales[i])
		}
	}
	clear(c.blocks[:c.n])
	c.n = 0
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

// measure computes the mean and the variance of the values. Without codes all groups count the same.
func (g *layout) measure(b []byte, scales *blockScales, codes *[weightsK]uint8, groups int) {
	if !g.shared {
		return
	}
	if g.unpack == nil {
		for i := range groups {
			scales.mean[i], scales.spread[i] = 0, 1
		}
		return
	}
	g.unpack(codes, b)
	if g.even && g.ranks == nil && g.group%16 == 0 {
		var sums [16][2]int32
		kernels.LevelSums(sums[:groups], codes[:groups*g.group], g.group)
		for i, s := range sums[:groups] {
			scales.mean[i], scales.spread[i] = g.momentsOf(int(s[0]), int(s[1]), float32(g.group))
		}
		return
	}
	for i := range groups {
		scales.mean[i], scales.spread[i] = g.moments(codes[i*g.group:][:g.group])
	}
}

// momentsOf are the mean and the variance of n codes of which the sum and the sum of the squares are known.
func (g *layout) momentsOf(sum, squares int, n float32) (mean, spread float32) {
	mean = float32(sum) / n
	return mean + g.values[0], float32(squares)/n - float32(mean*mean)
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
		return g.momentsOf(sum, squares, n)
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
func clampHalf(f float32) float32 { return halfToFloat(floatToHalf(limitHalf(f))) }

// limitHalf limits f to the range of half precision numbers.
func limitHalf(f float32) float32 {
	const largest = 65504
	return min(max(f, -largest), largest)
}
