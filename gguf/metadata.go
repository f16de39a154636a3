package gguf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
)

// maxKey is how long a key may be, in bytes.
const maxKey = 1<<16 - 1

// Metadata is a list of named values in the order of the file. The zero Metadata is empty and ready to use.
//
// The getters find a value by its key and report whether it is there and can be converted: Uint takes any integer that
// is not negative, Float any number, Ints any array of whole numbers.
type Metadata struct {
	entries []entry
	index   map[string]int // key -> its place in entries
}

type entry struct {
	key   string
	value Value
}

// Len is the number of values.
func (m *Metadata) Len() int { return len(m.entries) }

// All goes through keys and values in order.
func (m *Metadata) All() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		for _, e := range m.entries {
			if !yield(e.key, e.value) {
				return
			}
		}
	}
}

// Get finds a value.
func (m *Metadata) Get(key string) (Value, bool) {
	i, ok := m.index[key]
	if !ok {
		return Value{}, false
	}
	return m.entries[i].value, true
}

// Set sets the value of a key to anything that [ValueOf] takes. An existing key keeps its position, a new one goes to
// the end. (ggml's own library moves a key that it sets to the end: Delete, then Set, does the same.)
func (m *Metadata) Set(key string, v any) error {
	if err := checkKey(key); err != nil {
		return err
	}
	value, err := ValueOf(v)
	if err != nil {
		return fmt.Errorf("key %q: %w", key, err)
	}
	m.put(key, value)
	return nil
}

func checkKey(key string) error {
	if key == "" || len(key) > maxKey {
		return fmt.Errorf("gguf: a key has 1 to %d bytes, %.20q has %d", maxKey, key, len(key))
	}
	return nil
}

func (m *Metadata) put(key string, v Value) {
	if i, ok := m.index[key]; ok {
		m.entries[i].value = v
		return
	}
	if m.index == nil {
		m.index = map[string]int{}
	}
	m.index[key] = len(m.entries)
	m.entries = append(m.entries, entry{key, v})
}

// Delete removes a value and reports whether it was there.
func (m *Metadata) Delete(key string) bool {
	i, ok := m.index[key]
	if !ok {
		return false
	}
	m.entries = slices.Delete(m.entries, i, i+1)
	delete(m.index, key)
	for j := i; j < len(m.entries); j++ {
		m.index[m.entries[j].key] = j
	}
	return true
}

// Rename changes the key of a value and keeps its position. It removes the value that the new key had.
func (m *Metadata) Rename(old, new string) error {
	v, ok := m.Get(old)
	if !ok {
		return fmt.Errorf("gguf: no key %q", old)
	}
	if err := checkKey(new); err != nil || old == new {
		return err
	}
	m.Delete(new)
	i := m.index[old]
	m.entries[i] = entry{new, v}
	delete(m.index, old)
	m.index[new] = i
	return nil
}

// Clone is a copy that can be changed apart from the original.
func (m *Metadata) Clone() *Metadata {
	return &Metadata{entries: slices.Clone(m.entries), index: maps.Clone(m.index)}
}

// get is a getter: it finds the key and converts the value.
func get[T any](m *Metadata, key string, convert func(Value) (T, bool)) (T, bool) {
	v, ok := m.Get(key)
	if !ok {
		var zero T
		return zero, false
	}
	return convert(v)
}

// String is a string value.
func (m *Metadata) String(key string) (string, bool) { return get(m, key, Value.Str) }

// Bool is a bool value.
func (m *Metadata) Bool(key string) (value, ok bool) { return get(m, key, Value.Bool) }

// Uint is a number that a uint64 holds exactly.
func (m *Metadata) Uint(key string) (uint64, bool) { return get(m, key, Value.Uint) }

// Int is a number that an int64 holds exactly.
func (m *Metadata) Int(key string) (int64, bool) { return get(m, key, Value.Int) }

// Float is any number.
func (m *Metadata) Float(key string) (float64, bool) { return get(m, key, Value.Float) }

// Strings is an array of strings, which must not be written to.
func (m *Metadata) Strings(key string) ([]string, bool) { return get(m, key, Value.Strings) }

// Bools is an array of bools, which must not be written to.
func (m *Metadata) Bools(key string) ([]bool, bool) { return get(m, key, Value.Bools) }

// Ints is an array of numbers that int64s hold exactly. It must not be written to.
func (m *Metadata) Ints(key string) ([]int64, bool) { return get(m, key, Value.Ints) }

// Floats is an array of numbers, each rounded to the nearest float32. It must not be written to.
func (m *Metadata) Floats(key string) ([]float32, bool) { return get(m, key, Value.Floats) }

// MarshalJSON writes an object with the values in their order.
func (m *Metadata) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, e := range m.entries {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(e.key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(e.value)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
