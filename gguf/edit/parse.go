package edit

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/peftconv/peftconv/gguf"
)

// Pair is a renaming.
type Pair struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// ParsePair reads FROM=TO.
func ParsePair(text string) (Pair, error) {
	from, to, ok := strings.Cut(text, "=")
	if !ok || from == "" || to == "" {
		return Pair{}, fmt.Errorf("%q, expected OLD=NEW", text)
	}
	return Pair{from, to}, nil
}

// Kind is the kind of a metadata value: of a single one, or of the elements of an array.
type Kind struct {
	Elem  gguf.ValueType
	Array bool
}

// String is the kind as ParseKind reads it: "u32", "str[]".
func (k Kind) String() string {
	if k.Array {
		return k.Elem.String() + "[]"
	}
	return k.Elem.String()
}

// ParseKind reads u8, i8, u16, i16, u32, i32, u64, i64, f32, f64, bool or str; followed by [] for an array.
func ParseKind(text string) (Kind, error) {
	name, array := strings.CutSuffix(text, "[]")
	elem, err := gguf.ParseValueType(name)
	if err != nil || elem == gguf.KindArray {
		return Kind{}, fmt.Errorf("%q is no kind of value, expected one of u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 bool str, "+
			"with [] for an array", text)
	}
	return Kind{elem, array}, nil
}

// Assignment sets a metadata value.
type Assignment struct {
	Key  string
	Kind *Kind  // nil: as it is, or, of a new key, str
	Text string // a number, true or false, a string as it is; of an array, JSON
}

// ParseAssignment reads KEY=VALUE or KEY:KIND=VALUE.
func ParseAssignment(text string) (Assignment, error) {
	left, value, ok := strings.Cut(text, "=")
	if !ok || left == "" {
		return Assignment{}, fmt.Errorf("%q, expected KEY=VALUE or KEY:KIND=VALUE", text)
	}
	i := strings.LastIndexByte(left, ':')
	if i < 0 {
		return Assignment{Key: left, Text: value}, nil
	}
	kind, err := ParseKind(left[i+1:])
	if err != nil {
		return Assignment{}, err
	}
	return Assignment{left[:i], &kind, value}, nil
}

// value is the assignment's value, for a key that has the value old, or none.
func (a Assignment) value(old *gguf.Value) (gguf.Value, error) {
	kind := Kind{Elem: gguf.KindString}
	switch {
	case a.Kind != nil:
		kind = *a.Kind
	case old != nil:
		kind = Kind{old.Elem(), old.Type() == gguf.KindArray}
	case looksTyped(a.Text):
		return gguf.Value{},
			fmt.Errorf("the key is new, and %q could be of several kinds: say which, as in %s:u32=… or %s:str=…",
				short(a.Text), a.Key, a.Key)
	}
	v, err := parseValue(kind, a.Text)
	if err != nil {
		return gguf.Value{}, err
	}
	return gguf.ValueOf(v)
}

// looksTyped says whether a text may have been meant as something other than a string.
func looksTyped(text string) bool {
	text = strings.TrimSpace(text)
	_, err := strconv.ParseFloat(text, 64)
	number := err == nil || errors.Is(err, strconv.ErrRange)
	return number || text == "true" || text == "false" || strings.HasPrefix(text, "[") && json.Valid([]byte(text))
}

func short(text string) string {
	if len(text) > 40 {
		return text[:40] + "…"
	}
	return text
}

// parseValue reads a value as a Go value that gguf.ValueOf takes.
func parseValue(kind Kind, text string) (any, error) {
	if !kind.Array {
		return parseScalar(kind.Elem, text)
	}
	if kind.Elem == gguf.KindArray {
		return nil, errors.New("the value is an array of arrays, which cannot be set")
	}
	var elements []json.RawMessage
	if err := json.Unmarshal([]byte(text), &elements); err != nil || elements == nil {
		return nil, fmt.Errorf("%q is no JSON array: the value is of kind %v", short(text), kind)
	}
	list := reflect.MakeSlice(reflect.SliceOf(reflect.TypeOf(zeros[kind.Elem])), 0, len(elements))
	for i, raw := range elements {
		v, err := parseElement(kind.Elem, raw)
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
		list = reflect.Append(list, reflect.ValueOf(v))
	}
	return list.Interface(), nil
}

// parseElement reads an element of a JSON array.
func parseElement(kind gguf.ValueType, raw json.RawMessage) (any, error) {
	if kind != gguf.KindString {
		return parseScalar(kind, string(raw))
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil || raw[0] != '"' {
		return nil, fmt.Errorf("%s is no string", short(string(raw)))
	}
	return s, nil
}

// zeros is a value of each kind as a Go value.
var zeros = map[gguf.ValueType]any{
	gguf.KindUint8: uint8(0), gguf.KindInt8: int8(0), gguf.KindUint16: uint16(0), gguf.KindInt16: int16(0),
	gguf.KindUint32: uint32(0), gguf.KindInt32: int32(0), gguf.KindUint64: uint64(0), gguf.KindInt64: int64(0),
	gguf.KindFloat32: float32(0), gguf.KindFloat64: float64(0), gguf.KindBool: false, gguf.KindString: "",
}

// parseScalar reads a value that is not an array.
func parseScalar(kind gguf.ValueType, text string) (any, error) {
	zero := reflect.New(reflect.TypeOf(zeros[kind])).Elem()
	var err error
	switch bits := zero.Type().Bits; kind {
	case gguf.KindString:
		if !utf8.ValidString(text) {
			return nil, errors.New("the text is not UTF-8")
		}
		zero.SetString(text)
	case gguf.KindBool:
		if text != "true" && text != "false" {
			return nil, fmt.Errorf("%q is neither true nor false", short(text))
		}
		zero.SetBool(text == "true")
	case gguf.KindFloat32, gguf.KindFloat64:
		var x float64
		x, err = strconv.ParseFloat(text, bits())
		zero.SetFloat(x)
	case gguf.KindUint8, gguf.KindUint16, gguf.KindUint32, gguf.KindUint64:
		var n uint64
		n, err = strconv.ParseUint(text, 10, bits())
		zero.SetUint(n)
	default:
		var n int64
		n, err = strconv.ParseInt(text, 10, bits())
		zero.SetInt(n)
	}
	if errors.Is(err, strconv.ErrRange) {
		return nil, fmt.Errorf("%s is more than a value of kind %v can be", text, kind)
	}
	if err != nil {
		return nil, fmt.Errorf("%q is no value of kind %v", short(text), kind)
	}
	return zero.Interface(), nil
}
