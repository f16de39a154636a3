package safetensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// scanner reads JSON text, known to be valid UTF-8, from front to back: the objects, strings and lists of whole
// numbers of a header. It allocates only its results; encoding/json would take ten times as much.
type scanner struct {
	text []byte
	pos  int   // of the next byte
	base int64 // where the text starts in the file

	tensorName string // of which the place ofTensor is
}

// ofTensor is the place of the entry of a tensor in an error: a text for each would be made for nothing.
const ofTensor = ""

// wrong is an error at the current position.
func (s *scanner) wrong(place string, val any, msg string, args ...any) error {
	if place == ofTensor {
		place = fmt.Sprintf("tensor %q", s.tensorName)
	}
	return &FormatError{Place: place, Off: s.base + int64(s.pos), Msg: fmt.Sprintf(msg, args...), Val: val}
}

// peek is the next byte that is not a space, 0 at the end of the text.
func (s *scanner) peek() byte {
	for ; s.pos < len(s.text); s.pos++ {
		switch c := s.text[s.pos]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// next reports whether the next byte is c, and if so skips it.
func (s *scanner) next(c byte) bool {
	if s.peek() != c || s.pos == len(s.text) {
		return false
	}
	s.pos++
	return true
}

// unexpected is the error for something else than want.
func (s *scanner) unexpected(place, want string) error {
	s.peek()
	rest := s.text[s.pos:]
	if len(rest) == 0 {
		return s.wrong(place, nil, "the JSON text ends where %s is expected", want)
	}
	found := rest[:1]
	if n := bytes.IndexAny(rest, " \t\r\n,:]}"); n != 0 {
		found = rest[:min(max(n, 1), 30, len(rest))]
	}
	text := string(bytes.ToValidUTF8(found, nil))
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		text = strconv.Quote(text)
	}
	return s.wrong(place, string(found), "%s stands where %s is expected", text, want)
}

// object reads an object and calls field for the value of each key. No key may stand there twice.
func (s *scanner) object(place string, field func(key string) error) error {
	var seen keys
	return s.members(place, seen.add, field)
}

// members is object where isNew tells of each key, once, whether it stands there for the first time.
func (s *scanner) members(place string, isNew func(key string) bool, field func(key string) error) error {
	if !s.next('{') {
		return s.unexpected(place, `"{"`)
	}
	if s.next('}') {
		return nil
	}
	for {
		key, err := s.string(place)
		if err != nil {
			return err
		}
		if !isNew(key) {
			return s.wrong(place, key, "the key %q occurs twice", key)
		}
		if !s.next(':') {
			return s.unexpected(place, `":"`)
		}
		if err := field(key); err != nil {
			return err
		}
		if s.next('}') {
			return nil
		}
		if !s.next(',') {
			return s.unexpected(place, `"," or "}"`)
		}
	}
}

// string reads a text.
func (s *scanner) string(place string) (string, error) {
	if s.peek() != '"' {
		return "", s.unexpected(place, "a text")
	}
	end := s.pos + 1
	plain := true
	for ; end < len(s.text) && s.text[end] != '"'; end++ {
		if s.text[end] == '\\' {
			end++
			plain = false
		} else if s.text[end] < 0x20 {
			plain = false
		}
	}
	if end >= len(s.text) {
		return "", s.wrong(place, nil, "a text has no end")
	}
	quoted := s.text[s.pos : end+1]
	text := string(quoted[1 : len(quoted)-1])
	if !plain {
		if err := json.Unmarshal(quoted, &text); err != nil {
			return "", s.wrong(place, nil, "not valid JSON: %v", err)
		}
	}
	s.pos = end + 1
	return text, nil
}

// numbers reads a list of whole numbers.
func (s *scanner) numbers(place string) ([]uint64, error) {
	list := []uint64{}
	if !s.next('[') {
		return nil, s.unexpected(place, "a list of whole numbers")
	}
	if s.next(']') {
		return list, nil
	}
	for {
		n, err := s.number(place)
		if err != nil {
			return nil, err
		}
		list = append(list, n)
		if s.next(']') {
			return list, nil
		}
		if !s.next(',') {
			return nil, s.unexpected(place, `"," or "]"`)
		}
	}
}

// number reads a whole number below 2^64.
func (s *scanner) number(place string) (uint64, error) {
	s.peek()
	end := s.pos
	for end < len(s.text) && bytes.IndexByte([]byte("0123456789+-.eE"), s.text[end]) >= 0 {
		end++
	}
	digits := s.text[s.pos:end]
	n, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil || len(digits) > 1 && digits[0] == '0' || digits[0] == '+' {
		return 0, s.unexpected(place, "a whole number below 2^64")
	}
	s.pos = end
	return n, nil
}

// skip reads any value.
func (s *scanner) skip(place string) error {
	dec := json.NewDecoder(bytes.NewReader(s.text[s.pos:]))
	var value json.RawMessage
	if err := dec.Decode(&value); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return s.wrong(place, nil, "the JSON text ends too early")
		}
		return s.wrong(place, nil, "not valid JSON: %v", err)
	}
	s.pos += int(dec.InputOffset())
	return nil
}

// end checks that nothing follows.
func (s *scanner) end(place string) error {
	if s.peek(); s.pos < len(s.text) {
		return s.unexpected(place, "the end of the JSON text")
	}
	return nil
}

// keys is a set of keys: a list while there are few, as for a tensor, and a map when there are many.
type keys struct {
	few  []string
	many map[string]bool
}

// add adds a key and reports whether it is new.
func (k *keys) add(key string) bool {
	if k.many == nil {
		if slices.Contains(k.few, key) {
			return false
		}
		if k.few = append(k.few, key); len(k.few) < 16 {
			return true
		}
		k.many = map[string]bool{}
		for _, key := range k.few {
			k.many[key] = true
		}
		return true
	}
	if k.many[key] {
		return false
	}
	k.many[key] = true
	return true
}
