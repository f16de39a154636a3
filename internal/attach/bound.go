package attach

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
)

// Bound is an adapter attached to one base; it implements model.Hooks. It has its own copy of the parameters: a
// change of the adapter after Bind does not reach it.
type Bound struct {
	Adapter *Adapter
	base    *Base
	Values  []float32 // as Adapter.Flat, rows as the base stores them
	Grads   []float32 // as values; nil unless training
	Perms   []Permutation
	model.Hooks
	Effect Effect
}

// Bind attaches the adapter to a base. Errors name what does not fit: another architecture, a module that the
// base does not have, another shape.
func (a *Adapter) Bind(b *Base) (*Bound, error) { return a.Attach(b, 1, false) }

// Attach attaches the adapter to a base. strength multiplies its effect; with training the result has gradients.
// Errors: a base that the tensors do not fit (ErrWrongBase), master weights that are missing (ErrNoMaster).
func (a *Adapter) Attach(b *Base, strength float64, training bool) (*Bound, error) {
	if a.lent != nil && a.lent.base == b && strength == 1 && !training {
		return a.lent, nil
	}
	if arch := a.Origin.Architecture; arch != "" && arch != b.Architecture() {
		return nil, errkind.Errorf(ErrWrongBase, "adapter: made for a base of architecture %q, but %s is %q", arch,
			b.Path, b.Architecture())
	}
	if len(a.Config.Invocation) > 0 {
		return nil, errkind.Errorf(errors.ErrUnsupported, "adapter: it acts from its invocation tokens on (aLoRA), "+
			"computing which is not supported: convert it to a GGUF file for llama.cpp's server")
	}
	if training && len(a.Tensors) == 0 {
		return nil, errkind.Errorf(ErrOnlyBlocks, "adapter: it has blocks that were trained, and nothing to train")
	}
	if err := a.findMaster(b); err != nil {
		return nil, err
	}
	if err := a.copies.check(b); err != nil {
		return nil, err
	}
	perms, err := a.Method.Permuted(b)
	if err != nil {
		return nil, err
	}
	bound := &Bound{Adapter: a, base: b, Perms: perms, Values: make([]float32, len(a.Flat))}
	values := Views(a.Tensors, bound.Values)
	ToBase(values, a.Tensors, perms)
	var grads []Param
	if training {
		bound.Grads = make([]float32, len(a.Flat))
		grads = Views(a.Tensors, bound.Grads)
	}
	at, err := a.Method.Bind(b, values, grads, strength)
	if err != nil {
		return nil, err
	}
	if a.Config.Quantized != nil {
		if at, err = newQuantized(b, at, a.Config.Quantized, training); err != nil {
			return nil, fmt.Errorf("adapter: %w", err)
		}
	}
	bound.Hooks, bound.Effect = at, at.Effect()
	bound.Stepped(0, 0)
	return bound, nil
}

// Lend has what attaches the adapter to the same base within f get bound, which is being trained: with its present
// values, and without taking memory for them a second time.
func (a *Adapter) Lend(bound *Bound, f func() error) error {
	a.lent = bound
	defer func() { a.lent = nil }()
	return f()
}

// Train switches what only happens in training on or off.
func (bd *Bound) Train(on bool) {
	if bd.Effect.Train != nil {
		bd.Effect.Train(on)
	}
}

// Stepped tells the method that the tensors have new values, after step of all steps; step may be 0.
func (bd *Bound) Stepped(step, steps int) {
	if bd.Effect.Stepped != nil {
		bd.Effect.Stepped(step, steps)
	}
}

// Expand puts the method's virtual tokens into a batch, or makes room for its prefix.
func (bd *Bound) Expand(b *batch.Batch) {
	if bd.Effect.Expand != nil {
		bd.Effect.Expand(b)
	}
}

// Changes are the changes of weights that have the same effect, by linear map; nil where there are none.
func (bd *Bound) Changes() map[*model.Linear]Change {
	if bd.Effect.Changes == nil {
		return nil
	}
	return bd.Effect.Changes()
}

// Vectors are the changes of norms and biases.
func (bd *Bound) Vectors() []VectorChange {
	if bd.Effect.Vectors == nil {
		return nil
	}
	return bd.Effect.Vectors()
}

// Store copies the bound parameters back into the adapter.
func (bd *Bound) Store() { ToHF(bd.Adapter.Tensors, Views(bd.Adapter.Tensors, bd.Values), bd.Perms) }

// Scaled is an adapter with a factor on its effect.
type Scaled struct {
	Adapter *Adapter
	Scale   float64
}

// AdaptersOf are the adapters without their factors.
func AdaptersOf(all []Scaled) []*Adapter {
	list := make([]*Adapter, len(all))
	for i, scaled := range all {
		list[i] = scaled.Adapter
	}
	return list
}

// BindAll attaches several adapters to a base.
func BindAll(b *Base, adapters []Scaled) (Stack, error) {
	var s Stack
	for i, scaled := range adapters {
		bound, err := scaled.Adapter.Attach(b, scaled.Scale, false)
		if err == nil && bound.Requantizes() && slices.ContainsFunc(s, (*Bound).Requantizes) {
			err = errors.New("two quantization-aware adapters cannot be used at once")
		}
		if err != nil {
			return nil, fmt.Errorf("adapter %d of %d: %w", i+1, len(adapters), err)
		}
		s = append(s, bound)
	}
	return s, s.reserveAll()
}

// Requantizes reports whether the adapter requantizes blocks of the base. Of several adapters only one may.
func (bd *Bound) Requantizes() bool { return bd.Effect.Blocks != nil }

// BlockHashes are the SHA-256 of the requantized blocks by their places in the file (model.Linear.Place), which are
// names of tensors where these hold no other rows; nil for adapters that requantize none.
func (bd *Bound) BlockHashes() map[string]string {
	blocks := bd.Effect.Blocks
	if blocks == nil {
		return nil
	}
	hashes := make([]string, len(blocks))
	kernels.Parallel(len(hashes), func(i int) {
		sum := sha256.Sum256(blocks[i].Requantized.Data)
		hashes[i] = hex.EncodeToString(sum[:])
	})
	byPlace := make(map[string]string, len(hashes))
	for i, b := range blocks {
		byPlace[b.Place] = hashes[i]
	}
	return byPlace
}
