package quantize

import (
	"slices"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
)

// traits are the properties of a model that the rules use.
type traits struct {
	arch    *arch.Arch    // nil: it has no table here
	rules   arch.Quantize // of the architecture
	layers  int           // blocks
	sharing int           // query heads that share a key head, in the first layer
	experts int           // in the feed-forward part; 0: it has none
	tied    bool          // the embedding is the output head too
	wide    bool          // one of the large models of which attention values get more bits
	imatrix bool          // there is an importance matrix
}

// traitsOf reads the traits of a model. What is missing in the metadata counts as 0.
func traitsOf(f *gguf.File) traits {
	name, _ := f.Meta.String("general.architecture")
	m := traits{
		layers:  int(first(f.Meta, name+".block_count")),
		experts: int(first(f.Meta, name+".expert_count")),
		arch:    arch.ByName(name),
	}
	heads := first(f.Meta, name+".attention.head_count")
	keys := heads
	if _, ok := f.Meta.Get(name + ".attention.head_count_kv"); ok {
		keys = first(f.Meta, name+".attention.head_count_kv")
	}
	if keys > 0 {
		m.sharing = int(heads / keys)
	}
	m.tied = !slices.ContainsFunc(f.Tensors, func(t *gguf.Tensor) bool { return m.roleOf(t.Name) == head })
	if a := m.arch; a != nil {
		m.rules, m.wide = a.Quantize, a.Quantize.Large(m.layers, heads != keys)
	}
	return m
}

// first is a number, or the first of an array; 0 where it is neither.
func first(meta *gguf.Metadata, key string) int64 {
	if n, ok := meta.Int(key); ok {
		return n
	}
	if list, ok := meta.Ints(key); ok && len(list) > 0 {
		return list[0]
	}
	return 0
}
