package attach

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/internal/store"
)

// OpenLatent opens the model that the base was quantized from, for adapters that start from its weights: a GGUF file, a
// safetensors file or a directory of such. It is closed with the base; one that was opened before is closed at once.
func (b *Base) OpenLatent(path string) error {
	original, err := store.Open(path)
	if err != nil {
		return fmt.Errorf("open original weights: %w", err)
	}
	err = b.closeLatent()
	b.Latent = &requant.LatentWeights{Path: path, Model: b.Model, Store: original, Hashes: map[*model.Linear]string{}}
	return err
}

func (b *Base) closeLatent() error {
	if b.Latent == nil {
		return nil
	}
	original := b.Latent.Store
	b.Latent = nil
	return original.Close()
}

// NewLatent is what an adapter that is yet to be made records of the original weights of some linear maps: their identity.
func (b *Base) NewLatent(linears []*model.Linear) (string, error) {
	switch {
	case b.Latent == nil:
		return "", errors.New("the original weights are not open (Base.OpenLatent)")
	case len(linears) == 0:
		return "", fmt.Errorf("original weights are where the channel %s starts from, which no weight has here", ChannelCode)
	}
	for _, linear := range linears {
		rows, err := b.Latent.Rows(linear)
		if err == nil {
			err = rows.Check(linear)
		}
		if err != nil {
			return "", fmt.Errorf("original weights %s: %w", b.Latent.Path, err)
		}
	}
	return b.Latent.Identity(linears)
}

// AttachLatent gives blocks the original weights of their linear maps, which must be those that were trained with.
func (b *Base) AttachLatent(identity string, linears []*model.Linear, blocks []*requant.MovedBlocks) error {
	found, err := b.Latent.Identity(linears)
	if err != nil {
		return fmt.Errorf("original weights: %w", err)
	}
	if found != identity {
		return fmt.Errorf("the original weights in %s are not those that the adapter was trained with: SHA-256 %s, expected %s", b.Latent.Path, found, identity)
	}
	for i, l := range linears {
		if blocks[i].Latent, err = b.Latent.Rows(l); err != nil {
			return err
		}
	}
	return nil
}

// latentSettings are settings of a method that can start from original weights; original is their identity, or "".
type latentSettings interface{ Original() string }

// latentIdentity is that of the original weights that an adapter starts from, "" where there are none.
func (a *Adapter) latentIdentity() string {
	if s, ok := a.Config.Settings.(latentSettings); ok {
		return s.Original()
	}
	if a.Config.Grid != nil {
		return a.Config.Grid.Latent
	}
	return ""
}

// findLatent opens the original weights that an adapter needs where it was trained with them, unless others are open.
func (a *Adapter) findLatent(b *Base) error {
	identity := a.latentIdentity()
	if identity == "" || b.Latent != nil {
		return nil
	}
	path := a.Origin.Latent
	if _, err := os.Stat(path); path == "" || err != nil {
		return errkind.Errorf(ErrNoOriginal, "adapter: its levels start from the original weights of the base, "+
			"%s (SHA-256 of the tensors %s), which are not there: say where they are", filepath.Base(path), identity)
	}
	return b.OpenLatent(path)
}

// LatentBytes is the size of the original weights that an adapter reads.
func LatentBytes(b *Base, a *Adapter) (bytes int64) {
	if a.latentIdentity() == "" || b.Latent == nil {
		return 0
	}
	for _, l := range b.Model.Linears() {
		if w, _ := b.Latent.Find(l); w != nil && a.touches(l.Module) {
			bytes += int64(len(w.Data))
		}
	}
	return bytes
}
