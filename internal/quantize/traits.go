package quantize

import "github.com/peftconv/peftconv/gguf"

// traits are the properties of a model that the rules use.
type traits struct {
	arch    string
	layers  int  // blocks
	sharing int  // query heads that share a key head, in the first layer
	experts int  // in the feed-forward part; 0: it has none
	tied    bool // the embedding is the output head too
	wide    bool // one of the large models whose attention values get more bits
	imatrix bool // there is an importance matrix
}

// traitsOf reads the traits of a model. What is missing in the metadata counts as 0.
func traitsOf(f *gguf.File) traits {
	arch, _ := f.Meta.String("general.architecture")
	m := traits{
		arch:    arch,
		layers:  int(first(f.Meta, arch+".block_count")),
		experts: int(first(f.Meta, arch+".expert_count")),
		tied:    f.Tensor(headName) == nil,
	}
	heads := first(f.Meta, arch+".attention.head_count")
	keys := heads
	if _, ok := f.Meta.Get(arch + ".attention.head_count_kv"); ok {
		keys = first(f.Meta, arch+".attention.head_count_kv")
	}
	if keys > 0 {
		m.sharing = int(heads / keys)
	}
	m.wide = wideModel(arch, m.layers, heads != keys)
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

// wideModel says whether llama.cpp calls a model 70B, which it does by architecture, number of layers and, for some,
// whether query heads share key heads.
func wideModel(arch string, layers int, shared bool) bool {
	switch arch {
	case "llama", "llama-embed":
		return layers == 80 && shared
	case "qwen2", "deci", "olmo":
		return layers == 80
	case "jais2":
		return layers == 68
	}
	return false
}
