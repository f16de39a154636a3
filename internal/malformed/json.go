package malformed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// rawMark stands in texts for bytes that are no JSON value.
const rawMark = "@@raw@@"

// value is what takes the place of a value in JSON.
type value struct {
	name string
	v    any
	raw  string // in the place of v
}

// values are the lies that any value can be replaced by.
func values() []value {
	return []value{
		{"null", nil, ""}, {"true", true, ""}, {"0", 0, ""}, {"-1", -1, ""}, {"-8", -8, ""}, {"1.5", 1.5, ""},
		{"2^31", int64(1) << 31, ""}, {"2^62", int64(1) << 62, ""}, {"1e300", 1e300, ""}, {"a text", "text", ""},
		{"an empty text", "", ""}, {"a text of control characters", "\x1b]0;x\x07\x00\u202e", ""},
		{"a huge text", strings.Repeat("x", hugeText), ""}, {"an empty list", []any{}, ""},
		{"a list of a list", []any{[]any{nil, true}}, ""}, {"an empty object", map[string]any{}, ""},
		{"NaN", nil, "NaN"}, {"Infinity", nil, "-Infinity"}, {"1e999", nil, "1e999"}, {"invalid UTF-8", nil,
			"\"\xff\xfe\""},
		{"half a surrogate", nil, `"\ud800"`}, {"deep lists", nil, strings.Repeat("[",
			20_000) + strings.Repeat("]", 20_000)},
		{"deep objects", nil, strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000)},
	}
}

// mostKeys is how many keys of an object, and elements of a list, are changed.
const mostKeys = 20

// JSON are lies in a JSON document: each value, as deep as depth, is left out and replaced by others.
func JSON(good []byte, depth int) iter.Seq[Variant] {
	var doc any
	if err := json.Unmarshal(good, &doc); err != nil {
		panic("malformed: the good JSON is none: " + err.Error())
	}
	return func(yield func(Variant) bool) {
		m := &maker{yield: yield}
		m.json(doc, func(v any) any { return v }, "the document", depth)
		m.add(bytes.Replace(good, []byte("{"), []byte(`{"x": 1, "x": 2,`), 1), "a key twice")
	}
}

// json adds the lies in the place of v, which whole puts into the document.
func (m *maker) json(v any, whole func(any) any, at string, depth int) {
	for _, lie := range values() {
		m.replaced(whole, lie, at)
	}
	if depth == 0 {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		keys := slices.Sorted(maps.Keys(v))
		for _, key := range some(keys) {
			with := func(set func(map[string]any)) any {
				other := maps.Clone(v)
				set(other)
				return whole(other)
			}
			m.replaced(func(any) any { return with(func(o map[string]any) { delete(o, key) }) },
				value{name: "missing"},
				at+" "+key)
			m.json(v[key], func(x any) any { return with(func(o map[string]any) { o[key] = x }) }, at+" "+key,
				depth-1)
		}
	case []any:
		for _, i := range some(indices(len(v))) {
			with := func(x any) any {
				other := slices.Clone(v)
				other[i] = x
				return whole(other)
			}
			m.json(v[i], with, fmt.Sprintf("%s [%d]", at, i), depth-1)
		}
		if len(v) > 0 {
			m.replaced(whole, value{name: "one element less", v: v[:len(v)-1]}, at)
			m.replaced(whole, value{name: "its last element twice", v: append(slices.Clone(v), v[len(v)-1])}, at)
		}
	}
}

// replaced adds a document with a lie in it.
func (m *maker) replaced(whole func(any) any, lie value, at string) {
	v := lie.v
	if lie.raw != "" {
		v = rawMark
	}
	data, err := json.Marshal(whole(v))
	if err != nil {
		panic("malformed: " + err.Error())
	}
	if lie.raw != "" {
		data = bytes.ReplaceAll(data, []byte(`"`+rawMark+`"`), []byte(lie.raw))
	}
	m.add(data, "%s: %s", at, lie.name)
}

// some are the first and the last of a long list.
func some[T any](list []T) []T {
	if len(list) <= mostKeys {
		return list
	}
	return slices.Concat(list[:3], list[len(list)-1:])
}

func indices(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}
