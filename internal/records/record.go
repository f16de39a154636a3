package records

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Record is one record of a file. Its fields are read when Object is called, which may be in another goroutine.
type Record struct {
	file   string
	line   int     // from 1; 0: the format has rows
	number int     // from 1, of a row, or of a record of an array; 0: the line says it
	raw    []byte  // a JSON object; nil: object is it
	column int     // where raw begins in its line, from 0
	object *Object // of formats that are not JSON
}

// Place says where the record is: "a.jsonl:12", "a.json:12: record 3", "a.csv:12" or "a.parquet: row 12".
func (r *Record) Place() string {
	switch {
	case r.line == 0:
		return fmt.Sprintf("%s: row %d", r.file, r.number)
	case r.number == 0:
		return fmt.Sprintf("%s:%d", r.file, r.line)
	}
	return fmt.Sprintf("%s:%d: record %d", r.file, r.line, r.number)
}

// Errorf is an error at the place of the record.
func (r *Record) Errorf(format string, args ...any) error {
	return fmt.Errorf("%s: %w", r.Place(), fmt.Errorf(format, args...))
}

// Object is the fields of the record. Errors say what is wrong with the record, without its place.
func (r *Record) Object() (*Object, error) {
	if r.object == nil {
		object, err := parseObject(r.raw, r.column)
		if err != nil {
			return nil, err
		}
		r.object, r.raw = object, nil
	}
	return r.object, nil
}

// Size is about how many bytes the record takes.
func (r *Record) Size() int {
	if r.object != nil {
		return r.object.size()
	}
	return len(r.raw)
}

// Field is a name with its value. A value is nil, a bool, a string, a [json.Number], a []any of values or an *[Object].
type Field struct {
	Name  string
	Value any
}

// Object is fields in the order of the file. Where JSON gives a name twice the last value counts, at the first place.
type Object struct{ fields []Field }

// Fields are all fields, in the order of the file. They must not be changed.
func (o *Object) Fields() []Field { return o.fields }

// Names are the names of all fields.
func (o *Object) Names() []string {
	names := make([]string, len(o.fields))
	for i, f := range o.fields {
		names[i] = f.Name
	}
	return names
}

// Value is the value of a field, and whether there is one of that name.
func (o *Object) Value(name string) (value any, ok bool) {
	for i := range o.fields {
		if o.fields[i].Name == name {
			return o.fields[i].Value, true
		}
	}
	return nil, false
}

// Has says whether the object has all of some fields.
func (o *Object) Has(names ...string) bool {
	for _, name := range names {
		if _, ok := o.Value(name); !ok {
			return false
		}
	}
	return true
}

// Text is the string in a field. An error names the field, and what it is or which fields there are.
func (o *Object) Text(name string) (string, error) {
	value, ok := o.Value(name)
	if !ok {
		return "", fmt.Errorf("no field %q; the fields are %s", name, o.List())
	}
	text, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("field %q is %s, want a string", name, Describe(value))
	}
	return text, nil
}

// Integers is the array of integers in a field.
func (o *Object) Integers(name string) ([]int64, error) {
	value, _ := o.Value(name)
	list, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf("field %q is %s, want an array of integers", name, Describe(value))
	}
	out := make([]int64, len(list))
	for i, v := range list {
		number, ok := v.(json.Number)
		if !ok {
			return nil, fmt.Errorf("%s[%d] is %s, want an integer", name, i, Describe(v))
		}
		var err error
		if out[i], err = number.Int64(); err != nil {
			return nil, fmt.Errorf("%s[%d] is %s, want an integer", name, i, number)
		}
	}
	return out, nil
}

// List is the names of the fields as a sentence has them: "a", "b" and "c".
func (o *Object) List() string { return List(o.Names()) }

// List is names as a sentence has them: "a", "b" and "c".
func List(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	if len(quoted) == 1 {
		return quoted[0]
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " and " + quoted[len(quoted)-1]
}

// Describe names the kind of a value.
func Describe(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case bool:
		return "a truth value"
	case string:
		return "a string"
	case json.Number:
		return "a number"
	case []any:
		return "an array"
	case *Object:
		return "an object"
	}
	return fmt.Sprintf("a %T", value)
}

// Hash is a hash of the fields, whatever format they came from. It depends on the names, the values and their order.
func (o *Object) Hash() [sha256.Size]byte {
	text, err := o.MarshalJSON()
	if err != nil {
		panic(err) // of values that no reader makes
	}
	return sha256.Sum256(text)
}

// MarshalJSON is the object as compact JSON, in its order, with <, > and & as they are.
func (o *Object) MarshalJSON() ([]byte, error) { return appendJSON(nil, o) }

// size is about how many bytes an object takes.
func (o *Object) size() int {
	n := 0
	for _, f := range o.fields {
		n += len(f.Name) + sizeOf(f.Value)
	}
	return n
}

func sizeOf(value any) int {
	n := 16
	switch v := value.(type) {
	case string:
		n += len(v)
	case json.Number:
		n += len(v)
	case []any:
		for _, e := range v {
			n += sizeOf(e)
		}
	case *Object:
		n += v.size()
	}
	return n
}

// set adds a field, or replaces the one of that name.
func (o *Object) set(name string, value any) {
	if i := slices.IndexFunc(o.fields, func(f Field) bool { return f.Name == name }); i >= 0 {
		o.fields[i].Value = value
		return
	}
	o.fields = append(o.fields, Field{name, value})
}
