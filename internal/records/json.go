package records

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// mostDepth is how deep the arrays and objects of a record may stand in each other.
const mostDepth = 200

// parseObject parses one JSON object. The text must not be changed after it: strings are parts of it. column is where
// it begins in its line, from 0, for errors.
func parseObject(text []byte, column int) (*Object, error) {
	if at := invalidUTF8(text); at >= 0 {
		return nil, fmt.Errorf("byte %d of the line (%#02x) is not UTF-8", column+at+1, text[at])
	}
	var whole checked
	var syntax *json.SyntaxError
	switch err := json.Unmarshal(text, &whole); {
	case errors.As(err, &syntax):
		return nil, fmt.Errorf(`not JSON: %w at byte %d; want one object a line, such as {"text": "…"}`, syntax,
			int64(column)+syntax.Offset)
	case err != nil:
		return nil, err
	}
	p := &parser{text: text}
	value, err := p.value(0)
	if err != nil {
		return nil, err
	}
	object, ok := value.(*Object)
	if !ok {
		return nil, fmt.Errorf(`%s; want an object, such as {"text": "…"}`, Describe(value))
	}
	return object, nil
}

// checked is any value: reading it checks the syntax alone.
type checked struct{}

// UnmarshalJSON implements json.Unmarshaler.
func (*checked) UnmarshalJSON([]byte) error { return nil }

// parser makes values of JSON text whose syntax is known to be right. Strings without escapes are parts of the text,
// not copies: a record may be most of what is in memory.
type parser struct {
	text []byte
	at   int
}

// next is the next byte that is not white space.
func (p *parser) next() byte {
	for strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
	return p.text[p.at]
}

// more reports whether another element follows, and skips what stands before it or else the end of the list.
func (p *parser) more(end byte) bool {
	switch p.next() {
	case end:
		p.at++
		return false
	case ',':
		p.at++
	}
	return true
}

// value reads the next value.
func (p *parser) value(depth int) (any, error) {
	if depth > mostDepth {
		return nil, fmt.Errorf("more than %d arrays and objects in each other", mostDepth)
	}
	switch p.next() {
	case '[':
		list := []any{}
		for p.at++; p.more(']'); {
			value, err := p.value(depth + 1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	case '{':
		object := &Object{}
		for p.at++; p.more('}'); {
			p.next()
			name, err := p.string()
			if err != nil {
				return nil, err
			}
			p.next()
			p.at++ // the colon
			value, err := p.value(depth + 1)
			if err != nil {
				return nil, err
			}
			object.set(name, value)
		}
		return object, nil
	case '"':
		return p.string()
	}
	start := p.at
	for p.at < len(p.text) && strings.IndexByte(",]} \t\r\n", p.text[p.at]) < 0 {
		p.at++
	}
	switch word := p.part(start, p.at); word {
	case "null":
		return nil, nil
	case "true", "false":
		return word == "true", nil
	default:
		return json.Number(word), nil
	}
}

// string reads a string.
func (p *parser) string() (string, error) {
	start := p.at
	plain := true
	for p.at++; p.text[p.at] != '"'; p.at++ {
		if p.text[p.at] == '\\' {
			plain = false
			p.at++
		}
	}
	p.at++
	if plain {
		return p.part(start+1, p.at-1), nil
	}
	var s string
	err := json.Unmarshal(p.text[start:p.at], &s)
	return s, err
}

// part is a part of the text.
func (p *parser) part(from, to int) string {
	return unsafe.String(unsafe.SliceData(p.text[from:to]), to-from)
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
