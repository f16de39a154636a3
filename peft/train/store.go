package train

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
)

// Values of Options.Store.
const (
	StoreSmallest = methods.StoreSmallest // pairs or blocks, whichever takes less
	StorePairs    = methods.StorePairs    // the matrices that were trained
	StoreBlocks   = methods.StoreBlocks   // the new blocks, compressed where that helps
)

// StoreForms are all of them.
func StoreForms() []string { return slices.Clone(methods.StoreForms) }

// Stored says what a file has of the weights of an adapter of method.QAT. Sizes are in bytes.
type Stored struct {
	Blocks     int   `json:"blocks"` // weights of which it has blocks
	BlockBytes int64 `json:"block_bytes"`
	Pairs      int   `json:"pairs"` // weights of which it has the matrices that were trained
	PairBytes  int64 `json:"pair_bytes"`
	AllPairs   int64 `json:"all_pairs_bytes"` // what the matrices of all weights take
	AllBlocks  int64 `json:"base_bytes"`      // what the base's blocks of all these weights take
}

// checkStore reports a way of storing that the adapter does not have.
func (opt *Options) checkStore(a *attach.Adapter) error {
	switch {
	case opt.Store == "":
		return nil
	case !slices.Contains(methods.StoreForms, opt.Store):
		return fmt.Errorf("%q is no form to store, expected %s", opt.Store, strings.Join(methods.StoreForms, ", "))
	case !methods.IsQAT(a):
		return fmt.Errorf("%s to be stored: only plain LoRA pairs that are trained quantization-aware have this choice, "+
			"this is a %s", opt.Store, a.Describe())
	}
	return nil
}

// writeFile writes the adapter's file.
func (t *trainer) writeFile(r *Result) error {
	a, stored, err := methods.InForm(t.adapter, t.bound, cmp.Or(t.opt.Store, StoreSmallest))
	if err != nil {
		return err
	}
	r.Stored = (*Stored)(stored)
	return a.SaveWith(t.opt.Out, t.opt.Beside)
}
