package peft

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/kernels"
)

// Bound is an adapter at work on one base; it implements model.Hooks. It has its own copy of the parameters: a
// change of the adapter after Bind does not reach it.
type Bound struct {
	adapter *Adapter
	base    *Base
	values  []float32 // as Adapter.flat, rows as the base stores them
	grads   []float32 // as values; nil unless training
	perms   []permutation
	attachment
}

// Bind puts the adapter to work on a base. Errors name what does not fit: another architecture, a module that the
// base does not have, another shape.
func (a *Adapter) Bind(b *Base) (*Bound, error) { return a.bind(b, 1, false) }

func (a *Adapter) bind(b *Base, strength float64, training bool) (*Bound, error) {
	if arch := a.Origin.Architecture; arch != "" && arch != b.Architecture() {
		return nil, fmt.Errorf("adapter: made for a base of architecture %q, but %s is %q", arch, b.Path, b.Architecture())
	}
	if err := a.findLatent(b); err != nil {
		return nil, err
	}
	perms, err := a.method.permuted(b)
	if err != nil {
		return nil, err
	}
	bound := &Bound{adapter: a, base: b, perms: perms, values: make([]float32, len(a.flat))}
	values := views(a.params, bound.values)
	toBase(values, a.params, perms)
	var grads []Param
	if training {
		bound.grads = make([]float32, len(a.flat))
		grads = views(a.params, bound.grads)
	}
	if bound.attachment, err = a.method.bind(b, values, grads, strength); err != nil {
		return nil, err
	}
	if a.Config.Grid != nil {
		if bound.attachment, err = onGrid(b, bound.attachment, a.Config.Grid, training); err != nil {
			return nil, fmt.Errorf("adapter: %w", err)
		}
	}
	bound.stepped(0, 0)
	return bound, nil
}

// store puts the bound parameters back into the adapter.
func (bd *Bound) store() { toHF(bd.adapter.params, views(bd.adapter.params, bd.values), bd.perms) }

// Scaled is an adapter with a factor on its effect.
type Scaled struct {
	Adapter *Adapter
	Scale   float64
}

// adaptersOf are the adapters without their factors.
func adaptersOf(all []Scaled) []*Adapter {
	list := make([]*Adapter, len(all))
	for i, scaled := range all {
		list[i] = scaled.Adapter
	}
	return list
}

// bindAll puts several adapters to work on a base.
func bindAll(b *Base, adapters []Scaled) (stack, error) {
	var s stack
	for i, scaled := range adapters {
		bound, err := scaled.Adapter.bind(b, scaled.Scale, false)
		if err == nil && bound.movesBlocks() && slices.ContainsFunc(s, (*Bound).movesBlocks) {
			err = errors.New("two quantization-aware adapters cannot be at work at once")
		}
		if err != nil {
			return nil, fmt.Errorf("adapter %d of %d: %w", i+1, len(adapters), err)
		}
		s = append(s, bound)
	}
	return s, s.reserveAll()
}

// blockMover is an attachment that multiplies with moved blocks.
type blockMover interface{ blocks() []*requant.MovedBlocks }

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
		sum := sha256.Sum256(blocks[i].Snapped.Data)
		hashes[i] = hex.EncodeToString(sum[:])
	})
	byName := make(map[string]string, len(hashes))
	for i, b := range blocks {
		byName[b.Tensor] = hashes[i]
	}
	return byName
}
