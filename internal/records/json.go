package records

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// mostDepth is how deep the arrays and objects of a record may stand in each other.
const mostDepth = 200

// parseObject parses one JSON object. column is where it begins in its line, from 0, for errors.
func parseObject(text []byte, column int) (*Object, error) {
	if at := invalidUTF8(text); at >= 0 {
		return nil, fmt.Errorf("byte %d of the line (%#02x) is not UTF-8", column+at+1, text[at])
	}
	var whole json.RawMessage // which checks the syntax without the values
	var syntax *json.SyntaxError
	switch err := json.Unmarshal(text, &whole); {
	case errors.As(err, &syntax):
		return nil, fmt.Errorf(`not JSON: %w at byte %d; want one object a line, such as {"text": "…"}`, syntax,
			int64(column)+syntax.Offset)
	case err != nil:
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	value, err := parseValue(d, 0)
	if err != nil {
		return nil, err
	}
	object, ok := value.(*Object)
	if !ok {
		return nil, fmt.Errorf(`%s; want an object, such as {"text": "…"}`, Describe(value))
	}
	return object, nil
}

// parseValue reads the next value.
func parseValue(d *json.Decoder, depth int) (any, error) {
	if depth > mostDepth {
		return nil, fmt.Errorf("more than %d arrays and objects in each other", mostDepth)
	}
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('['):
		list := []any{}
		for d.More() {
			value, err := parseValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err = d.Token()
		return list, err
	case json.Delim('{'):
		object := &Object{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			value, err := parseValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			object.set(name.(string), value)
		}
		_, err = d.Token()
		return object, err
	}
	return token, nil
}

// appendJSON appends a value as compact JSON.
func appendJSON(out []byte, value any) ([]byte, error) {
	var err error
	switch v := value.(type) {
	case []any:
		out = append(out, '[')
		for i, e := range v {
			if i > 0 {
				out = append(out, ',')
			}
			if out, err = appendJSON(out, e); err != nil {
				return nil, err
			}
		}
		return append(out, ']'), nil
	case *Object:
		out = append(out, '{')
		for i, f := range v.fields {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendString(out, f.Name)
			out = append(out, ':')
			if out, err = appendJSON(out, f.Value); err != nil {
				return nil, err
			}
		}
		return append(out, '}'), nil
	case string:
		return appendString(out, v), nil
	}
	text, err := json.Marshal(value)
	return append(out, text...), err
}

// appendString appends a string as JSON that escapes only what has to be.
func appendString(out []byte, s string) []byte {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string into a Builder
	return append(out, strings.TrimSuffix(b.String(), "\n")...)
}

// invalidUTF8 is the place of the first byte that is not UTF-8, or -1.
func invalidUTF8(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	at := 0
	for {
		r, n := utf8.DecodeRune(b[at:])
		if r == utf8.RuneError && n == 1 {
			return at
		}
		at += n
	}
}
