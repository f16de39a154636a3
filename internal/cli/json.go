package cli

import (
	"bufio"
	"bytes"
	"encoding"
	"encoding/json"
	"io"
	"reflect"
	"strings"
)

// PrintJSON prints one document, indented. Of a struct the elements of its lists are made one after another, because a
// model may have hundreds of thousands of tensors.
func PrintJSON(w io.Writer, document any) error {
	p := &jsonPrinter{out: bufio.NewWriter(w)}
	v := reflect.ValueOf(document)
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() == reflect.Struct && hasPlainFields(v.Type()) {
		p.fields(v)
	} else {
		p.any("", document)
	}
	p.text("\n")
	if p.err != nil {
		return p.err
	}
	return p.out.Flush()
}

// jsonPrinter prints what encoding/json does, in pieces.
type jsonPrinter struct {
	out *bufio.Writer
	err error
}

const jsonIndent = "  "

func (p *jsonPrinter) text(s string) {
	if p.err == nil {
		_, p.err = p.out.WriteString(s)
	}
}

// value prints a value, whose lines have a prefix.
func (p *jsonPrinter) value(prefix string, v reflect.Value) {
	if v.CanAddr() {
		v = v.Addr() // for methods of the pointer
	}
	p.any(prefix, v.Interface())
}

func (p *jsonPrinter) any(prefix string, v any) {
	if p.err != nil {
		return
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent(prefix, jsonIndent)
	if p.err = enc.Encode(v); p.err == nil {
		_, p.err = p.out.Write(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
	}
}

// fields prints the fields of a struct.
func (p *jsonPrinter) fields(v reflect.Value) {
	before := "{"
	for i := range v.NumField() {
		name, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		f := v.Field(i)
		if !v.Type().Field(i).IsExported() || name == "-" || options == "omitempty" && isEmpty(f) {
			continue
		}
		if name == "" {
			name = v.Type().Field(i).Name
		}
		p.text(before + "\n" + jsonIndent)
		p.any("", name)
		p.text(": ")
		if isList(f) {
			p.list(f)
		} else {
			p.value(jsonIndent, f)
		}
		before = ","
	}
	if before == "{" {
		p.text("{}")
		return
	}
	p.text("\n}")
}

// list prints a list that is a field.
func (p *jsonPrinter) list(v reflect.Value) {
	const prefix = jsonIndent + jsonIndent
	before := "["
	for i := range v.Len() {
		p.text(before + "\n" + prefix)
		p.value(prefix, v.Index(i))
		before = ","
	}
	p.text("\n" + jsonIndent + "]")
}

// isList says whether a value is a list with elements that encoding/json prints as one.
func isList(v reflect.Value) bool {
	return v.Kind() == reflect.Slice && v.Len() > 0 && v.Type().Elem().Kind() != reflect.Uint8 && !hasOwnForm(v.Type())
}

// isEmpty is what omitempty leaves out.
func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Struct:
		return false
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	}
	return v.IsZero()
}

// hasPlainFields says whether the fields of a struct are printed as fields does it: none is embedded, and none has an
// option that is not known here.
func hasPlainFields(t reflect.Type) bool {
	for i := range t.NumField() {
		f := t.Field(i)
		_, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || options != "" && options != "omitempty" {
			return false
		}
	}
	return !hasOwnForm(t)
}

// hasOwnForm says whether a type is printed by a method of its own.
func hasOwnForm(t reflect.Type) bool {
	for _, method := range []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler]()} {
		if t.Implements(method) || reflect.PointerTo(t).Implements(method) {
			return true
		}
	}
	return false
}
