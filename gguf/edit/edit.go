package edit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/weights"
)

// PadKey, "peftconv.pad", is the key of a string of blanks that fills up a header which became shorter. It says
// nothing; the next edit uses its space.
const PadKey = weights.PadKey

// ChatTemplate is the key of the chat template.
const ChatTemplate = "tokenizer.chat_template"

const (
	keyAlignment = "general.alignment"
	splitPrefix  = "split."
)

// Edit is a list of changes, in the order in which they are made.
type Edit struct {
	Remove        []string     // keys
	Rename        []Pair       // of keys; a value keeps its position
	Set           []Assignment // an existing key keeps its position, a new one goes to the end
	RenameTensors []Pair
}

// A MissingError reports a key or a tensor that does not exist.
type MissingError struct {
	What string   // "key" or "tensor"
	Name string   // of what is missing
	All  []string // the names that are there
}

// Error implements error.
func (e *MissingError) Error() string { return fmt.Sprintf("no %s %q in the file", e.What, e.Name) }

// apply makes the changes in a copy.
func (e *Edit) apply(meta *gguf.Metadata, table []*gguf.Tensor) (*gguf.Metadata, []*gguf.Tensor, error) {
	if err := e.check(); err != nil {
		return nil, nil, err
	}
	meta = meta.Clone()
	for _, key := range e.Remove {
		if !meta.Delete(key) {
			return nil, nil, missingKey(meta, key)
		}
	}
	for _, p := range e.Rename {
		if err := rename(meta, p); err != nil {
			return nil, nil, err
		}
	}
	for _, a := range e.Set {
		if err := set(meta, a); err != nil {
			return nil, nil, fmt.Errorf("set %s: %w", a.Key, err)
		}
	}
	table, err := e.renameTensors(table)
	return meta, table, err
}

// check refuses keys that other commands change, and contradictions.
func (e *Edit) check() error {
	var keys []string
	keys = append(keys, e.Remove...)
	for _, p := range e.Rename {
		keys = append(keys, p.From, p.To)
	}
	seen := map[string]bool{}
	for _, a := range e.Set {
		keys = append(keys, a.Key)
		if seen[a.Key] {
			return fmt.Errorf("key %q is set twice", a.Key)
		}
		seen[a.Key] = true
	}
	for _, key := range keys {
		switch {
		case strings.HasPrefix(key, splitPrefix):
			return fmt.Errorf("key %q describes how the model is split over files: use split and join to change it", key)
		case key == PadKey:
			return fmt.Errorf("key %q fills unused space and cannot be changed", key)
		}
	}
	for _, key := range e.Remove {
		if seen[key] {
			return fmt.Errorf("key %q is removed and set", key)
		}
	}
	return nil
}

func missingKey(meta *gguf.Metadata, key string) error {
	err := &MissingError{What: "key", Name: key}
	for k := range meta.All() {
		err.All = append(err.All, k)
	}
	return err
}

func rename(meta *gguf.Metadata, p Pair) error {
	if _, ok := meta.Get(p.From); !ok {
		return missingKey(meta, p.From)
	}
	if _, ok := meta.Get(p.To); ok && p.From != p.To {
		return fmt.Errorf("rename %s: there is a key %q already: remove it in the same edit to replace it", p.From, p.To)
	}
	return meta.Rename(p.From, p.To)
}

func set(meta *gguf.Metadata, a Assignment) error {
	var old *gguf.Value
	if v, ok := meta.Get(a.Key); ok {
		old = &v
	}
	v, err := a.value(old)
	if err != nil {
		return err
	}
	if a.Key == keyAlignment {
		if err := checkAlignment(v); err != nil {
			return err
		}
	}
	return meta.Set(a.Key, v)
}

// checkAlignment refuses alignments that programs cannot handle or that would make the file much larger.
func checkAlignment(v gguf.Value) error {
	n, ok := v.Uint()
	switch {
	case v.Type() != gguf.KindUint32:
		return fmt.Errorf("the alignment must be of kind u32, not %v", v.Type())
	case !ok || n < 8 || n > 1<<16 || n&(n-1) != 0:
		return fmt.Errorf("the alignment is %v, expected a power of two from 8 to 65536", v)
	}
	return nil
}

// renameTensors is the table with other names. Names may be exchanged.
func (e *Edit) renameTensors(table []*gguf.Tensor) ([]*gguf.Tensor, error) {
	if len(e.RenameTensors) == 0 {
		return table, nil
	}
	at := map[string]int{}
	for i := range table {
		at[table[i].Name] = i
	}
	out := slices.Clone(table)
	done := map[string]bool{}
	for _, p := range e.RenameTensors {
		i, ok := at[p.From]
		if !ok {
			err := &MissingError{What: "tensor", Name: p.From}
			for j := range table {
				err.All = append(err.All, table[j].Name)
			}
			return nil, err
		}
		if done[p.From] {
			return nil, fmt.Errorf("tensor %q is renamed twice", p.From)
		}
		done[p.From] = true
		renamed := *table[i]
		renamed.Name = p.To
		out[i] = &renamed
	}
	names := map[string]bool{}
	for i := range out {
		if names[out[i].Name] {
			return nil, fmt.Errorf("two tensors would be named %q", out[i].Name)
		}
		names[out[i].Name] = true
	}
	return out, nil
}

// empty says whether the edit asks for nothing.
func (e *Edit) empty() bool {
	return len(e.Remove)+len(e.Rename)+len(e.Set)+len(e.RenameTensors) == 0
}

var errEmpty = errors.New("nothing to edit")
