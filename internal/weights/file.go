package weights

import (
	"iter"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/store"
)

// File is an open model or adapter: a GGUF or safetensors file, or several that belong together.
type File struct {
	*store.Store
	Format string // "GGUF" or "safetensors"

	read atomic.Int64 // bytes since the pages were last given back
}

// PadKey is the key of a string of blanks by which package edit fills up a header that became shorter. It has no
// meaning.
const PadKey = "peftconv.pad"

// Value is a named value of a file's metadata.
type Value struct {
	Key   string
	Value gguf.Value // a string in safetensors
}

// Open opens a .gguf file, alone or one of several, a .safetensors file, an index of such files, or a directory that
// holds either. Close unmaps the files on which its tensors are views.
func Open(path string) (*File, error) {
	s, err := store.Open(path)
	if err != nil {
		return nil, err
	}
	f := &File{Store: s, Format: "safetensors"}
	if s.GGUF != nil {
		f.Format = "GGUF"
	}
	return f, nil
}

// Len is the number of tensors.
func (f *File) Len() int {
	if f.GGUF != nil {
		return len(f.GGUF.Tensors)
	}
	return len(f.Safetensors.Tensors)
}

// At is tensor i, in the order of the file. It is made for each call: a file may have hundreds of thousands.
func (f *File) At(i int) *Tensor {
	if f.GGUF != nil {
		return f.ofGGUF(f.GGUF.Tensors[i])
	}
	return f.ofSafetensors(f.Safetensors.Tensors[i])
}

// Tensors are all tensors with their numbers, in the order of the file.
func (f *File) Tensors() iter.Seq2[int, *Tensor] {
	return func(yield func(int, *Tensor) bool) {
		for i := range f.Len() {
			if !yield(i, f.At(i)) {
				return
			}
		}
	}
}

// Tensor finds a tensor by its name; nil when there is none.
func (f *File) Tensor(name string) *Tensor {
	if f.GGUF != nil {
		if t := f.GGUF.Tensor(name); t != nil {
			return f.ofGGUF(t)
		}
	} else if t := f.Safetensors.Tensor(name); t != nil {
		return f.ofSafetensors(t)
	}
	return nil
}

// Metadata is the values that the (first) file has beside its tensors, in its order; those of safetensors, which have
// none, by key.
func (f *File) Metadata() []Value {
	if f.GGUF != nil {
		return Values(f.GGUF.Meta)
	}
	var list []Value
	for _, key := range slices.Sorted(maps.Keys(f.Safetensors.Metadata)) {
		v, err := gguf.ValueOf(f.Safetensors.Metadata[key])
		if err != nil {
			panic("weights: a string is no value")
		}
		list = append(list, Value{key, v})
	}
	return list
}

// Values is GGUF metadata as a list.
func Values(meta *gguf.Metadata) []Value {
	list := make([]Value, 0, meta.Len())
	for key, v := range meta.All() {
		list = append(list, Value{key, v})
	}
	return list
}

// Size is the bytes of all tensors.
func (f *File) Size() int64 {
	n := int64(0)
	for _, t := range f.Tensors() {
		n += t.Size()
	}
	return n
}

// keptBytes is the number of bytes read before the pages of a file are released. All pages are released: the system
// maps pages around those that are read, also ones that were released before.
const keptBytes = 64 << 20

// used counts bytes that were read.
func (f *File) used(n int64) {
	if f.read.Add(n) < keptBytes {
		return
	}
	f.read.Store(0)
	f.Release()
}
