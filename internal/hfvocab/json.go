package hfvocab

import (
	"bytes"
	"encoding/json"
)

// member is a member of an object.
type member struct {
	key   string
	value any
}

// object is a JSON object whose members keep their order.
type object []member

// MarshalJSON writes the members in order.
func (o object) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, m := range o {
		if i > 0 {
			b = append(b, ',')
		}
		key, err := encodeJSON(m.key, "")
		if err != nil {
			return nil, err
		}
		value, err := encodeJSON(m.value, "")
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, key...), ':'), value...)
	}
	return append(b, '}'), nil
}

// add appends a member.
func (o *object) add(key string, value any) { *o = append(*o, member{key, value}) }

// encodeJSON writes a value with <, > and & as they are, which tokens are full of.
func encodeJSON(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), err
}
