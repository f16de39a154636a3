package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"unicode/utf8"
)

const (
	// maxHeader is how large a header may be, in bytes: the reference library's limit.
	maxHeader = 100_000_000
	// metadataKey is the key of the header that is not a tensor.
	metadataKey = "__metadata__"
)

// parse reads the header and points the tensors at their data.
func parse(data []byte) (*File, error) {
	header, err := headerOf(data)
	if err != nil {
		return nil, err
	}
	p := &parser{File: &File{names: map[string]*Tensor{}}, base: 8, dec: json.NewDecoder(bytes.NewReader(header))}
	if err := p.object("header", p.entry); err != nil {
		return nil, err
	}
	if _, err := p.dec.Token(); err != io.EOF {
		return nil, p.wrong("header", nil, "something follows the JSON object")
	}
	if err := p.locate(data[8+len(header):], int64(8+len(header))); err != nil {
		return nil, err
	}
	return p.File, nil
}

// headerOf is the JSON text at the start of a file.
func headerOf(data []byte) ([]byte, error) {
	bad := func(off int64, val any, msg string, args ...any) ([]byte, error) {
		return nil, &FormatError{Place: "header", Off: off, Msg: fmt.Sprintf(msg, args...), Val: val}
	}
	if len(data) < 8 {
		return bad(0, nil, "the file has %d bytes, expected at least 8", len(data))
	}
	n := binary.LittleEndian.Uint64(data)
	rest := data[8:]
	switch {
	case n > maxHeader:
		return bad(0, n, "its size is %d bytes, at most %d can be (is this a safetensors file?)", n, maxHeader)
	case n > uint64(len(rest)):
		return bad(0, n, "its size is %d bytes, the file has %d more (is it complete?)", n, len(rest))
	case n == 0 || rest[0] != '{':
		return bad(8, nil, "not a JSON object (is this a safetensors file?)")
	case !utf8.Valid(rest[:n]):
		return bad(8, nil, "not valid UTF-8")
	}
	return rest[:n], nil
}

// parser reads a header.
type parser struct {
	*File
	dec  *json.Decoder
	base int64  // where the JSON text starts in the file
	info []info // what the header says of each tensor
}

// info is where a tensor lies.
type info struct {
	tensor     *Tensor
	begin, end uint64 // of its data, in bytes from the end of the header
	line       int64  // where the header says so, in bytes from the start of the file
}

func (p *parser) off() int64 { return p.base + p.dec.InputOffset() }

func (p *parser) wrong(place string, val any, msg string, args ...any) error {
	return &FormatError{Place: place, Off: p.off(), Msg: fmt.Sprintf(msg, args...), Val: val}
}

// object reads a JSON object and calls field for the value of each key. No key may stand there twice.
func (p *parser) object(place string, field func(key string) error) error {
	if err := p.delim(place, '{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for p.dec.More() {
		token, err := p.dec.Token()
		key, ok := token.(string)
		if err != nil || !ok {
			return p.bad(place, err)
		}
		if seen[key] {
			return p.wrong(place, key, "the key %q stands there twice", key)
		}
		seen[key] = true
		if err := field(key); err != nil {
			return err
		}
	}
	return p.delim(place, '}')
}

func (p *parser) delim(place string, want json.Delim) error {
	token, err := p.dec.Token()
	if err != nil {
		return p.bad(place, err)
	}
	if token != want {
		return p.wrong(place, token, "%v stands where %q is expected", token, want.String())
	}
	return nil
}

// value reads the value of a key into v.
func (p *parser) value(place, key string, v any) error {
	if err := p.dec.Decode(v); err != nil {
		return p.bad(fmt.Sprintf("%s: %q", place, key), err)
	}
	return nil
}

// bad says what encoding/json found.
func (p *parser) bad(place string, err error) error {
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind):
		return p.wrong(place, kind.Value, "%s stands where %s is expected", kind.Value, expected[kind.Type.Kind().String()])
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return p.wrong(place, nil, "the JSON text ends too early")
	}
	return p.wrong(place, nil, "not valid JSON: %v", err)
}

// expected names the kinds of Go values into which the header is read.
var expected = map[string]string{
	"string": "a text", "slice": "a list of whole numbers", "uint64": "a whole number",
}

// entry reads the value of a key of the header.
func (p *parser) entry(key string) error {
	if key == metadataKey {
		return p.metadata()
	}
	t := &Tensor{Name: key}
	if err := p.tensor(t); err != nil {
		return err
	}
	p.names[key] = t
	return nil
}

func (p *parser) metadata() error {
	p.Metadata = map[string]string{}
	return p.object(metadataKey, func(key string) error {
		var s *string
		if err := p.value(metadataKey, key, &s); err != nil {
			return err
		}
		if s == nil {
			return p.wrong(metadataKey, nil, "%q is null, expected a text", key)
		}
		p.Metadata[key] = *s
		return nil
	})
}

// tensor reads what the header says of a tensor.
func (p *parser) tensor(t *Tensor) error {
	place := fmt.Sprintf("tensor %q", t.Name)
	in := info{tensor: t, line: p.off()}
	var shape, offsets []uint64
	err := p.object(place, func(key string) error {
		switch key {
		case "dtype":
			return p.value(place, key, &t.DType)
		case "shape":
			return p.value(place, key, &shape)
		case "data_offsets":
			return p.value(place, key, &offsets)
		}
		var skipped json.RawMessage // the reference library passes over what it does not know
		return p.value(place, key, &skipped)
	})
	switch {
	case err != nil:
		return err
	case t.DType == "":
		return p.wrong(place, nil, `"dtype" is missing`)
	case shape == nil:
		return p.wrong(place, nil, `"shape" is missing`)
	case len(offsets) != 2:
		return p.wrong(place, offsets, `"data_offsets" has %d numbers, expected 2`, len(offsets))
	}
	t.Shape = make([]int64, len(shape))
	for i, n := range shape {
		if n > math.MaxInt64 {
			return p.wrong(place, n, "dimension %d is %d, more than any file can hold", i, n)
		}
		t.Shape[i] = int64(n)
	}
	in.begin, in.end = offsets[0], offsets[1]
	p.info = append(p.info, in)
	return nil
}

// locate checks that the tensors cover the data exactly, one after the other, and makes the views. base is where the data
// start in the file.
func (p *parser) locate(data []byte, base int64) error {
	slices.SortStableFunc(p.info, func(a, b info) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	at := uint64(0)
	for _, in := range p.info {
		t := in.tensor
		if err := in.check(at, uint64(len(data))); err != nil {
			return &FormatError{Place: fmt.Sprintf("tensor %q", t.Name), Off: in.line, Msg: err.Error(), Val: []uint64{in.begin, in.end}}
		}
		t.data = data[in.begin:in.end:in.end]
		p.Tensors = append(p.Tensors, t)
		at = in.end
	}
	if rest := uint64(len(data)) - at; rest > 0 {
		return &FormatError{Place: "data", Off: base + int64(at), Msg: fmt.Sprintf("%d bytes follow that belong to no tensor", rest), Val: rest}
	}
	return nil
}

// check compares a tensor's place with its size, with the end of the tensor before it and with the end of the data.
func (in info) check(start, end uint64) error {
	size, err := in.tensor.size()
	switch {
	case err != nil:
		return err
	case in.begin != start:
		return fmt.Errorf("its data start at %d, expected %d, where those before it end", in.begin, start)
	case in.end < in.begin || in.end-in.begin != uint64(size):
		return fmt.Errorf("its data are at %d to %d, expected %d bytes for %s %v", in.begin, in.end, size, in.tensor.DType, in.tensor.Shape)
	case in.end > end:
		return fmt.Errorf("its data end at %d, beyond the %d bytes of data in the file (is it complete?)", in.end, end)
	}
	return nil
}
