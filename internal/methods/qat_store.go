package methods

import (
	"math"
	"slices"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/kernels"
)

// What a file has of each weight that a quantization-aware adapter of plain pairs was trained on.
const (
	StoreSmallest = "smallest" // pairs or blocks, whichever is smaller
	StorePairs    = "pairs"    // the matrices that were trained
	StoreBlocks   = "blocks"   // the blocks that the matrices make of the base's
)

// StoreForms are all of them.
var StoreForms = []string{StoreSmallest, StorePairs, StoreBlocks}

// Stored says what a file has of weights that were trained quantization-aware.
type Stored struct {
	Blocks     int   `json:"blocks"` // weights of which it has blocks
	BlockBytes int64 `json:"block_bytes"`
	Pairs      int   `json:"pairs"` // weights of which it has the matrices that were trained
	PairBytes  int64 `json:"pair_bytes"`
	AllPairs   int64 `json:"all_pairs_bytes"` // what the matrices of all weights take
	AllBlocks  int64 `json:"base_bytes"`      // what the base's blocks of all these weights take
}

// IsQAT reports an adapter that has the forms of StoreForms.
func IsQAT(a *attach.Adapter) bool { return a.Config.Method == MethodQAT }

// InForm is the adapter as a file has it, in one of StoreForms: where a weight is stored as blocks, without its pairs.
// bound is the adapter bound to its base, with its present values. Adapters of other methods stay as they are, and have
// no Stored.
func InForm(a *attach.Adapter, bound *attach.Bound, form string) (*attach.Adapter, *Stored, error) {
	m, ok := a.Method.(*qat)
	if !ok {
		return a, nil, nil
	}
	done := &Stored{}
	packed := make([]requant.Packed, len(m.modules))
	kernels.Parallel(len(packed), func(i int) {
		pairs, blocks := m.modules[i].bytes(a.Tensors), bound.Effect.Blocks[i]
		switch form {
		case StoreBlocks:
			packed[i] = blocks.Pack(math.MaxInt)
		case StoreSmallest:
			packed[i] = blocks.Pack(pairs - 1)
		}
	})
	config := a.Config
	config.Blocks = map[string]requant.Packed{}
	shapes := map[string][]int{}
	for i, mod := range m.modules {
		size := int64(mod.bytes(a.Tensors))
		done.AllPairs += size
		done.AllBlocks += int64(len(bound.Effect.Blocks[i].Matrix.Data))
		if packed[i] != nil {
			config.Blocks[mod.name] = packed[i]
			done.Blocks, done.BlockBytes = done.Blocks+1, done.BlockBytes+int64(len(packed[i]))
			continue
		}
		if mod.stored != nil {
			config.Blocks[mod.name] = mod.stored
		}
		for _, at := range mod.tensors() {
			shapes[a.Tensors[at].Name] = a.Tensors[at].Shape
		}
		done.Pairs, done.PairBytes = done.Pairs+1, done.PairBytes+size
	}
	out, err := a.Reshaped(config, shapes)
	return out, done, err
}

// Renew gives an adapter that has blocks in place of pairs new pairs, which change these blocks and are trained.
func Renew(a *attach.Adapter, b *attach.Base) (*attach.Adapter, error) {
	m, ok := a.Method.(*qat)
	if !ok || !slices.ContainsFunc(m.modules, (*qatModule).fixed) {
		return a, nil
	}
	var names []string
	for _, mod := range m.modules {
		if mod.fixed() {
			names = append(names, mod.name)
		}
	}
	shapes, err := qatShapes(b, m.settings, names)
	if err != nil {
		return nil, err
	}
	for _, p := range a.Tensors {
		shapes[p.Name] = p.Shape
	}
	out, err := a.Reshaped(a.Config, shapes)
	if err != nil {
		return nil, err
	}
	had := map[string]bool{}
	for _, p := range a.Tensors {
		had[p.Name] = true
	}
	for i := range out.Tensors {
		if p := &out.Tensors[i]; !had[p.Name] {
			startQAT(p, m.settings.Seed, b.Model.Spec.Width)
		}
	}
	return out, nil
}

// tensors are the places of a module's tensors.
func (mod *qatModule) tensors() (places []int) {
	for _, pair := range mod.low {
		places = append(places, pair[0], pair[1])
	}
	if mod.row >= 0 {
		places = append(places, mod.row)
	}
	return places
}

// bytes is what a module takes in a file with its tensors, and the blocks that these change where there are any.
func (mod *qatModule) bytes(params []attach.Param) int {
	n := len(mod.stored)
	for _, at := range mod.tensors() {
		n += 4 * len(params[at].Data)
	}
	return n
}
