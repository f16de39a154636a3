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
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/quant"
)

// OpenMaster opens the model that the base was quantized from, for adapters that start from its weights: a GGUF file, a
// safetensors file or a directory of such. It is closed with the base; one that was opened before is closed at once.
func (b *Base) OpenMaster(path string) error {
	original, err := store.Open(path)
	if err != nil {
		return fmt.Errorf("open original weights: %w", err)
	}
	err = b.closeMaster()
	b.Master = &requant.MasterWeights{Path: path, Model: b.Model, Store: original, Hashes: map[*model.Linear]string{}}
	return err
}

func (b *Base) closeMaster() error {
	if b.Master == nil {
		return nil
	}
	original := b.Master.Store
	b.Master = nil
	return original.Close()
}

// IdentifyMaster is what an adapter that is yet to be made records of the master weights of some linear maps: their
// identity.
func (b *Base) IdentifyMaster(linears []*model.Linear) (string, error) {
	switch {
	case b.Master == nil:
		return "", errors.New("the original weights are not open (Base.OpenMaster)")
	case len(linears) == 0:
		return "", fmt.Errorf("original weights are for the channel %s only, which no weight has here",
			method.ChannelCode)
	}
	for _, linear := range linears {
		rows, err := b.Master.Rows(linear)
		if err == nil {
			err = rows.Check(linear)
		}
		if err != nil {
			return "", fmt.Errorf("original weights %s: %w", b.Master.Path, err)
		}
	}
	return b.Master.Identity(linears)
}

// AttachMaster sets the master weights of those blocks whose codes are rounded. They must be the ones that training
// used.
func (b *Base) AttachMaster(identity string, blocks []*requant.Blocks) error {
	linears, blocks := b.withCodes(blocks)
	found, err := b.Master.Identity(linears)
	if err != nil {
		return fmt.Errorf("original weights: %w", err)
	}
	if found != identity {
		return fmt.Errorf("the original weights in %s are not those "+
			"that the adapter was trained with: SHA-256 %s, expected %s", b.Master.Path, found, identity)
	}
	for i, l := range linears {
		if blocks[i].Master, err = b.Master.Rows(l); err != nil {
			return err
		}
	}
	return nil
}

// withCodes are the linear maps of those blocks whose codes are rounded, in the order of the model, and these blocks.
func (b *Base) withCodes(all []*requant.Blocks) (linears []*model.Linear, blocks []*requant.Blocks) {
	byMatrix := map[*quant.Matrix]*requant.Blocks{}
	for _, m := range all {
		if m.Codes != requant.KeepCodes {
			byMatrix[m.Matrix] = m
		}
	}
	for _, l := range b.Model.Linears() {
		if m := byMatrix[&l.W]; m != nil {
			linears, blocks = append(linears, l), append(blocks, m)
		}
	}
	return linears, blocks
}

// masterIdentity is that of the master weights that an adapter starts from, "" where there are none.
func (a *Adapter) masterIdentity() string {
	if a.Config.Quantized != nil {
		return a.Config.Quantized.Master
	}
	return a.Method.Traits().Master
}

// findMaster opens the master weights that an adapter needs where it was trained with them, unless others are open.
func (a *Adapter) findMaster(b *Base) error {
	identity := a.masterIdentity()
	if identity == "" || b.Master != nil {
		return nil
	}
	path := a.Origin.Master
	if _, err := os.Stat(path); path == "" || err != nil {
		return errkind.Errorf(ErrNoMaster, "adapter: its codes are rounded from the original weights of the base, "+
			"%s (SHA-256 of the tensors %s), which are not there: say where they are", filepath.Base(path), identity)
	}
	return b.OpenMaster(path)
}

// MasterBytes is the size of the master weights that an adapter reads.
func MasterBytes(b *Base, a *Adapter) (bytes int64) {
	if a.masterIdentity() == "" || b.Master == nil {
		return 0
	}
	for _, l := range b.Model.Linears() {
		if w, _ := b.Master.Find(l); w != nil && a.touches(l) {
			bytes += int64(len(w.Data))
		}
	}
	return bytes
}
