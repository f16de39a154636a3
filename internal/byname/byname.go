// Package byname finds things by their names where there may be hundreds of thousands. It takes a pointer for each, and
// as many that are free; a map from strings takes some times as much.
package byname

import "hash/maphash"

// Index finds things by their names, which must not change. The zero Index is empty and finds nothing.
type Index[T any] struct {
	name  func(*T) string
	seed  maphash.Seed
	slots []*T // a power of two of them, a quarter or more of which are nil
	n     int
}

// New is an index with room for n things, whose names name gives.
func New[T any](n int, name func(*T) string) Index[T] {
	slots := 8
	for n > slots/4*3 {
		slots *= 2
	}
	return Index[T]{name: name, seed: maphash.MakeSeed(), slots: make([]*T, slots)}
}

// Find is the thing with a name; nil where there is none.
func (x *Index[T]) Find(name string) *T {
	if x.n == 0 {
		return nil
	}
	return x.slots[x.slot(name)]
}

// Add adds a thing. Where one of its name is there already, Add changes nothing and gives that one, else nil.
func (x *Index[T]) Add(thing *T) *T {
	name := x.name(thing)
	at := x.slot(name)
	if twin := x.slots[at]; twin != nil {
		return twin
	}
	if x.n++; x.n > len(x.slots)/4*3 {
		old := x.slots
		x.slots = make([]*T, 2*len(old))
		for _, t := range old {
			if t != nil {
				x.slots[x.slot(x.name(t))] = t
			}
		}
		at = x.slot(name)
	}
	x.slots[at] = thing
	return nil
}

// slot is the slot of a name, or the one that is free for it.
func (x *Index[T]) slot(name string) int {
	mask := len(x.slots) - 1
	i := int(maphash.String(x.seed, name)) & mask
	for x.slots[i] != nil && x.name(x.slots[i]) != name {
		i = (i + 1) & mask
	}
	return i
}
