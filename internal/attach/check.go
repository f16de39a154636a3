package attach

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/quant"
	"github.com/peftconv/peftconv/safetensors"
)

// Heads is the number of labels that the head of an adapter classifies into, 0 where it has none.
func (a *Adapter) Heads() int { return a.Method.Traits().Classes }

// Classifies reports whether the adapter has a head of its own, which takes the place of the base's.
func (a *Adapter) Classifies() bool { return a.Heads() > 0 }

// checkClasses reports data and adapters of which only one classifies by a head.
func checkClasses(set *Data, adapters []*Adapter) error {
	labels := 0
	for _, a := range adapters {
		labels = max(labels, a.Heads())
	}
	byHead := set.Classes > 0 && set.Answers == nil
	switch {
	case labels > 0 && !byHead:
		return fmt.Errorf("the adapter classifies into %d labels, but the data has no classes", labels)
	case byHead && labels != set.Classes:
		return fmt.Errorf("the data has %d classes, but the adapters' head has %d", set.Classes, labels)
	}
	return nil
}

// ErrClassifier is why an adapter with a head cannot generate.
var ErrClassifier = errors.New("the adapter classifies, it does not generate: see eval")

// CheckRank refuses a rank that no weight of a base can have.
func CheckRank(b *Base, rank int) error {
	if width := b.Model.Spec.Width; rank > width {
		return fmt.Errorf("rank %d is more than the width of the model, %d: no change of a weight has so high a rank", rank,
			width)
	}
	return nil
}

// CheckWeights reports the first weight of a base that is NaN or infinite, among the tensors that it uses.
func CheckWeights(b *Base) error {
	if b.Store == nil {
		return nil
	}
	for t := range b.Store.Tensors() {
		if !quant.Supported(t.Type) || len(t.Shape) == 0 || slices.Contains(b.Model.Unused, t.Name) {
			continue
		}
		shape := Ints(t.Shape)
		cols := shape[len(shape)-1]
		w, err := quant.NewMatrix(t.Type, elements(shape)/max(cols, 1), cols, t.Data)
		if err == nil {
			err = CheckMatrix(t.Name, w)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// CheckMatrix reports the first weight of a matrix that is NaN or infinite.
func CheckMatrix(name string, w quant.Matrix) error {
	row, col, found := w.FirstNonFinite()
	if !found {
		return nil
	}
	x := make([]float32, w.Cols)
	w.Row(x, row)
	return fmt.Errorf("the base is damaged: %s is %v in row %d, column %d", name, x[col], row, col)
}

// SameModel reports models whose linear maps are not the same ones.
func SameModel(base, tuned *Base) error {
	if a, b := base.Architecture(), tuned.Architecture(); a != b {
		return fmt.Errorf("%s is a %s model, %s a %s one", base.Path, a, tuned.Path, b)
	}
	a, b := base.Model.Linears(), tuned.Model.Linears()
	if len(base.Model.Layers) != len(tuned.Model.Layers) || len(a) != len(b) {
		return fmt.Errorf("%s has %d layers, %s has %d", base.Path, len(base.Model.Layers), tuned.Path,
			len(tuned.Model.Layers))
	}
	for i := range a {
		if a[i].Module != b[i].Module || a[i].W.Rows != b[i].W.Rows || a[i].W.Cols != b[i].W.Cols {
			return fmt.Errorf("%s is %d×%d in %s, but in %s %s is %d×%d", a[i].Module, a[i].W.Rows, a[i].W.Cols, base.Path,
				tuned.Path, b[i].Module, b[i].W.Rows, b[i].W.Cols)
		}
	}
	return nil
}

// tooLong is the error of an example with more tokens than it may have.
func tooLong(b *Base, example, tokens, limit int) error {
	if limit == b.Model.Spec.Context {
		return fmt.Errorf("example %d has %d tokens, but %s was made for no more than %d: cut it with a smaller sequence "+
			"length", example+1, tokens, b.Path, limit)
	}
	return fmt.Errorf("example %d has %d tokens, more than %d", example+1, tokens, limit)
}

// CheckSet reports data that cannot be learned from. The virtual tokens of adapters with a template may be in it.
func CheckSet(b *Base, set *Data, seqLen int, adapters ...*Adapter) error {
	spec := &b.Model.Spec
	limit := spec.Context
	if seqLen > 0 && (limit == 0 || seqLen < limit) {
		limit = seqLen
	}
	if err := checkClasses(set, adapters); err != nil {
		return err
	}
	lowest, first := int32(0), 0
	for _, a := range adapters {
		if a.Config.Template == "" {
			first += a.VirtualTokens()
		}
		if a.Config.Template != "" {
			lowest = -int32(a.VirtualTokens())
		}
	}
	targets := 0
	for i := range set.Len() {
		e, err := set.At(i)
		if err != nil {
			return err
		}
		if limit > 0 && len(e.IDs) > limit {
			return tooLong(b, i, len(e.IDs), limit)
		}
		if n := b.Model.Positions(); n > 0 && first+len(e.IDs) > n {
			return fmt.Errorf("example %d has %d tokens after %d virtual ones, but %s has embeddings of %d positions", i+1,
				len(e.IDs), first, b.Path, n)
		}
		for j, id := range e.IDs {
			if id < lowest || int(id) >= spec.Vocab {
				return fmt.Errorf("example %d: token %d has id %d, beyond the vocabulary of %d", i+1, j+1, id, spec.Vocab)
			}
			if j > 0 && (e.Loss == nil || e.Loss[j]) {
				targets++
			}
		}
	}
	if targets == 0 {
		return errors.New("there is no token to predict in it")
	}
	return nil
}

// PEFT saves the embedding table and the output head beside their pairs or trained rows, as they are in the base
// (save_embedding_layers). Such a copy is no part of an adapter here: it is compared with the base where the adapter is
// attached, and left out of what is written.

// copyEnd is the ending of a copy's name, after the module or its wrapper for trained rows.
const (
	copyEnd      = wrapped + ".weight"
	tokenWrapper = ".token_adapter"
)

// baseCopies are the copies of a base's weights in an adapter's file.
type baseCopies struct {
	file    string            // that has them
	tensors map[string]string // names there, by module
	same    *Base             // the last base that they were found in
}

// add takes a tensor that is a copy, and reports whether it is one.
func (c *baseCopies) add(file *safetensors.File, name string) bool {
	module, isCopy := strings.CutSuffix(name, copyEnd)
	module, ok := strings.CutPrefix(strings.TrimSuffix(module, tokenWrapper), ParamPrefix)
	if !isCopy || !ok {
		return false
	}
	if c.tensors == nil {
		c.file, c.tensors = file.Path, map[string]string{}
	}
	c.tensors[module] = name
	return true
}

// Limits of ‖copy - weight‖/‖weight‖: of weights in floats, and of such as are quantized.
const (
	copyLimit      = 0.01
	copyLimitQuant = 0.5
)

// check compares the copies with a base.
func (c *baseCopies) check(b *Base) error {
	if c.tensors == nil || c.same == b {
		return nil
	}
	f, err := safetensors.Open(c.file)
	if err != nil {
		return fmt.Errorf("adapter: its copies of the base's weights: %w", err)
	}
	defer f.Close()
	byName := b.LinearsByName(b.Model.Matrices())
	for module, name := range c.tensors {
		l := byName[b.Canonical(module)]
		if l == nil { // a head that is the embedding table, or what the decoder does without
			continue
		}
		if err := checkCopy(f.Tensor(name), l, b); err != nil {
			return err
		}
	}
	c.same = b
	return nil
}

// checkCopy compares one.
func checkCopy(t *safetensors.Tensor, l *model.Linear, b *Base) error {
	if t == nil || !slices.Equal(Ints(t.Shape), []int{l.W.Rows, l.W.Cols}) {
		return errkind.Errorf(ErrWrongBase, "adapter: it has a copy of the base's %s that is not %d×%d as in %s: an adapter "+
			"of another base, or of a larger vocabulary", l.Module, l.W.Rows, l.W.Cols, b.Path)
	}
	x, err := t.Float32s()
	if err != nil {
		return fmt.Errorf("adapter: tensor %q: %w", t.Name, err)
	}
	copied := model.Ordered{W: model.FloatMatrix(l.W.Rows, l.W.Cols, x)}
	spare := make([]float32, len(x))
	row := func(r int) []float32 { return spare[r*l.W.Cols : (r+1)*l.W.Cols] }
	off := lowrank.Ratio(lowrank.Differ(l.Ordered(), copied, row))
	limit := copyLimitQuant
	if l.W.Type.BlockLen() == 1 {
		limit = copyLimit
	}
	if !(off <= limit) {
		return errkind.Errorf(ErrWrongBase, "adapter: its copy of the base's %s differs from that of %s by %.3g of its "+
			"norm: an adapter of another base?", l.Module, b.Path, off)
	}
	return nil
}

// SameVocabulary is an error where the tokens of two bases are not the same ones in the same order: then probabilities
// of the one cannot be compared with those of the other. Of a base without a tokenizer only the number is known.
func SameVocabulary(a, b *Base) error {
	if n, m := a.Model.Spec.Vocab, b.Model.Spec.Vocab; n != m {
		return fmt.Errorf("%s has a vocabulary of %d tokens, %s one of %d: expected the same one", a.Path, n, b.Path, m)
	}
	if a.Tokenizer == nil || b.Tokenizer == nil {
		return nil
	}
	for id := range int32(min(a.Tokenizer.Size(), b.Tokenizer.Size())) {
		if p, q := a.Tokenizer.Piece(id), b.Tokenizer.Piece(id); p != q {
			return fmt.Errorf("token %d is %.40q in %s and %.40q in %s: expected the same vocabulary", id, p, a.Path, q, b.Path)
		}
	}
	return nil
}
