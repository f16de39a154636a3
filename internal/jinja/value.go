package jinja

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Values of a template are, as in Python: nil (None), bool, int64, float64, string, *List, *Dict; and within templates
// namespaces, functions and undefined names.

// List is a list, or a tuple.
type List struct {
	Items []any
	tuple bool
}

// Dict is a map that keeps the order in which its keys were first set.
type Dict struct {
	keys   []any
	values map[any]any
}

// NewDict is a Dict without keys.
func NewDict() *Dict { return &Dict{values: map[any]any{}} }

// Len is the number of keys.
func (d *Dict) Len() int { return len(d.keys) }

// Keys are the keys that are strings, in their order.
func (d *Dict) Keys() []string {
	out := make([]string, 0, len(d.keys))
	for _, k := range d.keys {
		if s, ok := k.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// Get is the value of a key; ok is false where there is none.
func (d *Dict) Get(key string) (value any, ok bool) {
	value, ok = d.values[key]
	return value, ok
}

// Set sets the value of a key.
func (d *Dict) Set(key string, value any) { d.set(key, value) }

func (d *Dict) set(key, value any) {
	if _, ok := d.values[key]; !ok {
		d.keys = append(d.keys, key)
	}
	d.values[key] = value
}

// Clone is a copy with the same values.
func (d *Dict) Clone() *Dict {
	out := &Dict{keys: slices.Clone(d.keys), values: make(map[any]any, len(d.values))}
	for k, v := range d.values {
		out.values[k] = v
	}
	return out
}

// Without is a copy without some keys.
func (d *Dict) Without(keys ...string) *Dict {
	out := NewDict()
	for _, k := range d.keys {
		if s, ok := k.(string); !ok || !slices.Contains(keys, s) {
			out.set(k, d.values[k])
		}
	}
	return out
}

type (
	undefined struct{ name string } // a name or attribute that is not there
	markup    string                // a text that the filter safe has marked: what is added to it is escaped
	bigInt    string                // an integer that int64 does not hold, as JSON wrote it
	function  struct {
		name string
		call func(r *run, a args) any
	}
	namespace struct{ values map[string]any }
	args      struct {
		list  []any
		named map[string]any
	}
)

// maxDepth is how deeply JSON, blocks, expressions and calls of macros may nest.
const maxDepth = 200

// FromJSON decodes one JSON value; objects keep the order of their keys, integers stay integers.
func FromJSON(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := decode(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err == nil {
		return nil, errors.New("more follows the JSON value")
	}
	return v, nil
}

func decode(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("JSON nested deeper than %d", maxDepth)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Number:
		return Number(string(t)), nil
	case json.Delim:
		if t == '[' {
			list := &List{Items: []any{}}
			for d.More() {
				v, err := decode(d, depth+1)
				if err != nil {
					return nil, err
				}
				list.Items = append(list.Items, v)
			}
			_, err := d.Token()
			return list, err
		}
		dict := NewDict()
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := decode(d, depth+1)
			if err != nil {
				return nil, err
			}
			dict.set(key, v)
		}
		_, err := d.Token()
		return dict, err
	}
	return t, nil
}

// Number is a number of JSON as a value.
func Number(s string) any {
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return i
	}
	if !strings.ContainsAny(s, ".eE") {
		return bigInt(s)
	}
	f, _ := strconv.ParseFloat(s, 64) // out of range: infinite, as in Python
	return f
}

// kind is what a value is called in an error.
func kind(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case undefined:
		return strconv.Quote(v.name) + ", which is undefined,"
	case bool:
		return "a truth value"
	case int64, bigInt, float64:
		return "a number"
	case string, markup:
		return "a string"
	case *List:
		return "a list"
	case *Dict:
		return "a mapping"
	}
	return "an object"
}

func truth(v any) bool {
	switch v := v.(type) {
	case nil, undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case markup:
		return v != ""
	case *List:
		return len(v.Items) > 0
	case *Dict:
		return len(v.keys) > 0
	}
	return true
}

// text is str(v) of Python; an undefined value is empty.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case markup:
		return string(v)
	case undefined:
		return ""
	}
	var b strings.Builder
	writeRepr(&b, v)
	return b.String()
}

// writeRepr writes repr(v) of Python.
func writeRepr(b *strings.Builder, v any) {
	switch v := v.(type) {
	case nil:
		b.WriteString("None")
	case undefined:
		b.WriteString("Undefined")
	case bool:
		if v {
			b.WriteString("True")
		} else {
			b.WriteString("False")
		}
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case bigInt:
		b.WriteString(string(v))
	case float64:
		b.WriteString(floatText(v))
	case string:
		writeQuoted(b, v)
	case markup:
		b.WriteString("Markup(")
		writeQuoted(b, string(v))
		b.WriteByte(')')
	case *List:
		open, end := "[", "]"
		if v.tuple {
			open, end = "(", ")"
			if len(v.Items) == 1 {
				end = ",)"
			}
		}
		b.WriteString(open)
		for i, item := range v.Items {
			if i > 0 {
				b.WriteString(", ")
			}
			writeRepr(b, item)
		}
		b.WriteString(end)
	case *Dict:
		b.WriteByte('{')
		for i, k := range v.keys {
			if i > 0 {
				b.WriteString(", ")
			}
			writeRepr(b, k)
			b.WriteString(": ")
			writeRepr(b, v.values[k])
		}
		b.WriteByte('}')
	case *function:
		b.WriteString("<function " + v.name + ">")
	default:
		b.WriteString("<object>")
	}
}

// writeQuoted writes a string as Python's repr does.
func writeQuoted(b *strings.Builder, s string) {
	quote := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	b.WriteByte(quote)
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\\' || r == rune(quote):
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(b, `\x%02x`, r)
		case strconv.IsPrint(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			fmt.Fprintf(b, `\U%08x`, r)
		}
	}
	b.WriteByte(quote)
}

// floatText is a float as Python writes it.
func floatText(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsNaN(f):
		return "nan"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		s := strconv.FormatFloat(f, 'e', -1, 64)
		return s
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// asFloat is a number as a float; ok is false for everything else.
func asFloat(v any) (f float64, ok bool) {
	if i, ok := asInt(v); ok {
		return float64(i), true
	}
	switch v := v.(type) {
	case float64:
		return v, true
	case bigInt:
		f, err := strconv.ParseFloat(string(v), 64)
		return f, err == nil
	}
	return 0, false
}

// asInt is an integer or truth value as an integer; ok is false for everything else.
func asInt(v any) (i int64, ok bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int64:
		return v, true
	}
	return 0, false
}

// asBig is an integer or truth value of any size; ok is false for everything else.
func asBig(v any) (i *big.Int, ok bool) {
	if n, ok := asInt(v); ok {
		return big.NewInt(n), true
	}
	if s, ok := v.(bigInt); ok {
		return new(big.Int).SetString(string(s), 10)
	}
	return nil, false
}

func asString(v any) (s string, ok bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case markup:
		return string(v), true
	}
	return "", false
}

// equal is Python's ==. Values that a template has built may share parts, so the work is counted.
func (r *run) equal(a, b any) bool {
	r.step(1)
	if x, ok := asString(r.read(a)); ok {
		y, ok := asString(b)
		return ok && x == y
	}
	if x, ok := asFloat(a); ok {
		if i, ok := asBig(a); ok {
			if j, ok := asBig(b); ok {
				return i.Cmp(j) == 0
			}
		}
		y, ok := asFloat(b)
		return ok && x == y
	}
	switch a := a.(type) {
	case nil:
		return b == nil
	case undefined:
		_, ok := b.(undefined)
		return ok
	case *List:
		c, ok := b.(*List)
		if !ok || len(a.Items) != len(c.Items) || a.tuple != c.tuple {
			return false
		}
		for i := range a.Items {
			if !r.equal(a.Items[i], c.Items[i]) {
				return false
			}
		}
		return true
	case *Dict:
		c, ok := b.(*Dict)
		if !ok || len(a.keys) != len(c.keys) {
			return false
		}
		for k, v := range a.values {
			if w, ok := c.values[k]; !ok || !r.equal(v, w) {
				return false
			}
		}
		return true
	}
	return a == b
}

// compare is -1, 0 or 1 for a < b, a == b and a > b.
func (r *run) compare(a, b any) int {
	r.step(1)
	if x, ok := asBig(a); ok {
		if y, ok := asBig(b); ok {
			return x.Cmp(y)
		}
	}
	if x, ok := asFloat(a); ok {
		if y, ok := asFloat(b); ok {
			switch {
			case x < y:
				return -1
			case x > y:
				return 1
			}
			return 0
		}
	}
	if x, ok := asString(r.read(a)); ok {
		if y, ok := asString(b); ok {
			return strings.Compare(x, y)
		}
	}
	if x, ok := a.(*List); ok {
		if y, ok := b.(*List); ok {
			for i := range min(len(x.Items), len(y.Items)) {
				if c := r.compare(x.Items[i], y.Items[i]); c != 0 {
					return c
				}
			}
			return len(x.Items) - len(y.Items)
		}
	}
	panic(r.errorf("%s and %s cannot be compared", kind(a), kind(b)))
}

// isSpace says what Python takes for white space.
func isSpace(c rune) bool { return unicode.IsSpace(c) || c >= 0x1c && c <= 0x1f }
