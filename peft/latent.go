package peft

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/store"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// latentWeights are the weights that a base was quantized from: where, between two levels, each weight was before it was
// rounded. Changes that ChannelCode makes are added there.
type latentWeights struct {
	path   string
	model  *model.Model // the base
	store  *store.Store
	hashes map[*model.Linear]string // of those that were asked for
}

// OpenLatent opens the model that the base was quantized from, for adapters that start from its weights: a GGUF file, a
// safetensors file or a directory of such. It is closed with the base; one that was opened before is closed at once.
func (b *Base) OpenLatent(path string) error {
	original, err := store.Open(path)
	if err != nil {
		return fmt.Errorf("open original weights: %w", err)
	}
	err = b.closeLatent()
	b.latent = &latentWeights{path: path, model: b.Model, store: original, hashes: map[*model.Linear]string{}}
	return err
}

func (b *Base) closeLatent() error {
	if b.latent == nil {
		return nil
	}
	original := b.latent.store
	b.latent = nil
	return original.Close()
}

// find is the original matrix of a linear map, nil where there is none, and its heads as ordered has them.
func (l *latentWeights) find(linear *model.Linear) (w *quant.Matrix, heads int) {
	t, heads, ok := l.model.In(l.store, linear)
	if !ok || len(t.Shape) != 2 || !quant.Supported(t.Type) {
		return nil, 0
	}
	return &quant.Matrix{Type: t.Type, Rows: int(t.Shape[0]), Cols: int(t.Shape[1]), Data: t.Data}, heads
}

// latentRows are the original weights of one linear map.
type latentRows struct {
	ordered
	place []int32 // of a row of the base among those of the Hugging Face checkpoint; nil: the same
}

// row sets dst to the original weights of row r of the base.
func (l *latentRows) row(dst []float32, r int) {
	if l.place != nil {
		r = int(l.place[r])
	}
	l.ordered.row(dst, r)
}

// rows finds the original weights of a linear map of a base.
func (l *latentWeights) rows(linear *model.Linear) (*latentRows, error) {
	w, heads := l.find(linear)
	switch {
	case w == nil:
		return nil, fmt.Errorf("%s has no matrix of floats or known blocks for %s: not the original of this base", l.path, linear.Module)
	case w.Rows != linear.W.Rows || w.Cols != linear.W.Cols:
		return nil, fmt.Errorf("%s is %d×%d in %s, but %d×%d in the base: not the original of this base", linear.Module, w.Rows, w.Cols, l.path,
			linear.W.Rows, linear.W.Cols)
	}
	return &latentRows{ordered{*w, heads}, inverted(rowsInBase(linear))}, nil
}

// farLatent is how far, as a share of their norm, original weights may be from those of a base: unrelated ones are √2 away, and 2
// bits a third.
const farLatent = 0.9

// check reports original weights that the base cannot have been quantized from, by some rows.
func (l *latentRows) check(linear *model.Linear) error {
	var miss, norm float64
	row, old := make([]float32, linear.W.Cols), make([]float32, linear.W.Cols)
	n := min(linear.W.Rows, sampledRows)
	for i := range n {
		r := i * linear.W.Rows / n
		linear.W.Row(old, r)
		l.row(row, r)
		norm += kernels.SumSquares(row)
		kernels.Axpy(-1, row, old)
		miss += kernels.SumSquares(old)
	}
	if far := math.Sqrt(miss / norm); !(far < farLatent) && miss > 0 {
		return fmt.Errorf("the weights of %s are %.0f %% away from those of the base: not the original of this base", linear.Module, 100*far)
	}
	return nil
}

// hash is the SHA-256 of the weights as little-endian float32, rows as in the Hugging Face checkpoint: the same for all files that
// hold these numbers.
func (l *latentRows) hash() string {
	h := sha256.New()
	row := make([]float32, l.w.Cols)
	for r := range l.w.Rows {
		l.ordered.row(row, r)
		h.Write(littleEndian(row))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// identity is the SHA-256 of a line "hash  module" for each of some linear maps.
func (l *latentWeights) identity(linears []*model.Linear) (string, error) {
	rows, hashes := make([]*latentRows, len(linears)), make([]string, len(linears))
	for i, linear := range linears {
		var err error
		if rows[i], err = l.rows(linear); err != nil {
			return "", err
		}
	}
	kernels.Parallel(len(linears), func(i int) {
		if hashes[i] = l.hashes[linears[i]]; hashes[i] == "" {
			hashes[i] = rows[i].hash()
		}
	})
	h := sha256.New()
	for i, linear := range linears {
		l.hashes[linear] = hashes[i]
		fmt.Fprintf(h, "%s  %s\n", hashes[i], linear.Module)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// newLatent is what an adapter that is yet to be made records of the original weights of some linear maps: their identity.
func (b *Base) newLatent(linears []*model.Linear) (string, error) {
	switch {
	case b.latent == nil:
		return "", errors.New("the original weights are not open (Base.OpenLatent)")
	case len(linears) == 0:
		return "", fmt.Errorf("original weights are where the channel %s starts from, which no weight has here", ChannelCode)
	}
	for _, linear := range linears {
		rows, err := b.latent.rows(linear)
		if err == nil {
			err = rows.check(linear)
		}
		if err != nil {
			return "", fmt.Errorf("original weights %s: %w", b.latent.path, err)
		}
	}
	return b.latent.identity(linears)
}

// attachLatent gives blocks the original weights of their linear maps, which must be those that were trained with.
func (b *Base) attachLatent(identity string, linears []*model.Linear, blocks []*movedBlocks) error {
	found, err := b.latent.identity(linears)
	if err != nil {
		return fmt.Errorf("original weights: %w", err)
	}
	if found != identity {
		return fmt.Errorf("the original weights in %s are not those that the adapter was trained with: SHA-256 %s, expected %s", b.latent.path, found, identity)
	}
	for i, l := range linears {
		if blocks[i].latent, err = b.latent.rows(l); err != nil {
			return err
		}
	}
	return nil
}

// latentIdentity is that of the original weights that an adapter starts from, "" where there are none.
func (a *Adapter) latentIdentity() string {
	if s, ok := a.Config.Settings.(*qatSettings); ok {
		return s.Latent
	}
	if a.Config.Grid != nil {
		return a.Config.Grid.Latent
	}
	return ""
}

// findLatent opens the original weights that an adapter needs where it was trained with them, unless others are open.
func (a *Adapter) findLatent(b *Base) error {
	identity := a.latentIdentity()
	if identity == "" || b.latent != nil {
		return nil
	}
	path := a.Origin.Latent
	if _, err := os.Stat(path); path == "" || err != nil {
		return fmt.Errorf("adapter: its levels start from the original weights of the base, %s (SHA-256 of the tensors %s), which are not there: "+
			"say where they are (--latent)", filepath.Base(path), identity)
	}
	return b.OpenLatent(path)
}

// latentBytes is the size of the original weights that an adapter reads.
func latentBytes(b *Base, a *Adapter) (bytes int64) {
	if a.latentIdentity() == "" || b.latent == nil {
		return 0
	}
	for _, l := range b.Model.Linears() {
		if w, _ := b.latent.find(l); w != nil && a.touches(l.Module) {
			bytes += int64(len(w.Data))
		}
	}
	return bytes
}
