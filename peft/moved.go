package peft

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"sync"

	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// movedBlocks is a matrix of the base and the same with its blocks moved, which the forward pass multiplies with and merging
// writes.
type movedBlocks struct {
	tensor  string // its name in the file
	base    *quant.Matrix
	snapped quant.Matrix // as base, in memory of its own
	dither  uint64       // seed; 0: none
	latent  *latentRows  // what the levels start from; nil: the base itself
}

func newMovedBlocks(l *model.Linear) movedBlocks {
	m := movedBlocks{tensor: l.Tensor, base: &l.W, snapped: l.W}
	m.snapped.Data = make([]byte, len(l.W.Data))
	return m
}

// baseRow is a row of the base's blocks.
func (b *movedBlocks) baseRow(r int) []byte {
	size := b.base.RowSize()
	return b.base.Data[r*size : (r+1)*size]
}

// row is a row of the moved blocks.
func (b *movedBlocks) row(r int) []byte {
	size := b.base.RowSize()
	return b.snapped.Data[r*size : (r+1)*size]
}

// recode makes a row of the moved blocks: from with its levels moved by a change.
func (b *movedBlocks) recode(r int, from []byte, change []float32, m *snapScratch) {
	var round quant.Rounding
	switch {
	case b.latent != nil:
		m.latent = sized(m.latent, len(change))
		b.latent.row(m.latent, r)
		round.Latent = m.latent
	case b.dither != 0:
		m.dither = sized(m.dither, len(change))
		ditherRow(m.dither, b.dither, r)
		round.Dither = m.dither
	}
	quant.Recode(b.base.Type, b.row(r), from, change, round)
}

// addRows is dst += moved - base.
func (b *movedBlocks) addRows(dst []float32, r0, r1 int) {
	row := make([]float32, b.base.Cols)
	for r := r0; r < r1; r++ {
		to := dst[(r-r0)*len(row):][:len(row)]
		b.snapped.Row(row, r)
		kernels.Add(to, row)
		b.base.Row(row, r)
		kernels.Axpy(-1, row, to)
	}
}

// snapRows is the number of rows that a thread takes at a time.
const snapRows = 8

// snapScratch is memory for the numbers of some rows.
type snapScratch struct{ scale, offset, factor, change, dither, latent []float32 }

var snapScratches = sync.Pool{New: func() any { return new(snapScratch) }}

// grid sets scale and offset to those of a row.
func (m *snapScratch) grid(w *quant.Matrix, r int) {
	groups := w.Groups()
	m.scale, m.offset = sized(m.scale, groups), sized(m.offset, groups)
	w.Grid(m.scale, m.offset, r)
}

// sized is x with n values, or new memory for them.
func sized(x []float32, n int) []float32 {
	if cap(x) < n {
		return make([]float32, n)
	}
	return x[:n]
}

// ditherRow fills u with numbers in [0, 1) that depend on the seed and the place alone. They are multiples of 2⁻¹⁶, so that
// adding one to a level is exact.
func ditherRow(u []float32, seed uint64, row int) {
	r := random{state: mix(seed ^ uint64(row)*0x9e3779b97f4a7c15)}
	for i := 0; i < len(u); i += 4 {
		bits := r.next()
		for j := i; j < min(i+4, len(u)); j++ {
			u[j] = float32(uint16(bits)) / (1 << 16)
			bits >>= 16
		}
	}
}

// blockMover is an attachment that multiplies with moved blocks.
type blockMover interface{ blocks() []*movedBlocks }

// movesBlocks reports whether the adapter moves blocks of the base: of several at work only one may.
func (bd *Bound) movesBlocks() bool {
	_, ok := bd.attachment.(blockMover)
	return ok
}

// snapped is the SHA-256 of the moved blocks by the names of their tensors; nil for adapters that move none.
func (bd *Bound) snapped() map[string]string {
	at, ok := bd.attachment.(blockMover)
	if !ok {
		return nil
	}
	blocks := at.blocks()
	hashes := make([]string, len(blocks))
	kernels.Parallel(len(hashes), func(i int) {
		sum := sha256.Sum256(blocks[i].snapped.Data)
		hashes[i] = hex.EncodeToString(sum[:])
	})
	byName := make(map[string]string, len(hashes))
	for i, b := range blocks {
		byName[b.tensor] = hashes[i]
	}
	return byName
}

// groupMethod is a method that moves blocks itself, and needs gradients that are summed over groups of weights.
type groupMethod interface{ sumsGroups() }

// movedBytes is what an adapter that moves blocks takes beside its tensors: the blocks, and what is made of the largest matrix
// at a time.
func movedBytes(b *Base, a *Adapter, tokens int) (bytes int64) {
	_, own := a.method.(groupMethod)
	if !own && a.Config.Grid == nil {
		return 0
	}
	largest, widest := 0, 0
	for _, l := range b.Model.Linears() {
		if !a.touches(l.Module) {
			continue
		}
		bytes += int64(len(l.W.Data))
		largest, widest = max(largest, l.W.Rows*l.W.Groups()), max(widest, l.W.Rows)
	}
	if own {
		return bytes + 2*4*int64(largest) // the gradients that are summed over groups
	}
	return bytes + 4*int64(tokens)*int64(widest)
}

// touches reports whether a module has a tensor in the adapter.
func (a *Adapter) touches(module string) bool {
	return slices.ContainsFunc(a.params, func(p Param) bool { return strings.HasPrefix(p.Name, paramPrefix+module+".") })
}
