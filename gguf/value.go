package gguf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// ValueType is the kind of a metadata value, numbered as in the file.
type ValueType uint32

// The kinds of metadata values.
const (
	KindUint8   ValueType = 0
	KindInt8    ValueType = 1
	KindUint16  ValueType = 2
	KindInt16   ValueType = 3
	KindUint32  ValueType = 4
	KindInt32   ValueType = 5
	KindFloat32 ValueType = 6
	KindBool    ValueType = 7
	KindString  ValueType = 8
	KindArray   ValueType = 9
	KindUint64  ValueType = 10
	KindInt64   ValueType = 11
	KindFloat64 ValueType = 12
)

// kinds names each kind and gives the bytes that a value of it takes in a file; 0 where that varies.
var kinds = [...]struct {
	name string
	size int
}{
	KindUint8: {"u8", 1}, KindInt8: {"i8", 1}, KindUint16: {"u16", 2}, KindInt16: {"i16", 2},
	KindUint32: {"u32", 4}, KindInt32: {"i32", 4}, KindFloat32: {"f32", 4}, KindBool: {"bool", 1},
	KindString: {"str", 0}, KindArray: {"arr", 0},
	KindUint64: {"u64", 8}, KindInt64: {"i64", 8}, KindFloat64: {"f64", 8},
}

func (k ValueType) valid() bool { return int64(k) < int64(len(kinds)) }

// String is the kind's short name: "u8", "f32", "bool", "str", "arr".
func (k ValueType) String() string {
	if k.valid() {
		return kinds[k].name
	}
	return fmt.Sprintf("kind %d", uint32(k))
}

// ParseValueType finds a kind by its short name.
func ParseValueType(s string) (ValueType, error) {
	for k := range kinds {
		if strings.EqualFold(kinds[k].name, s) {
			return ValueType(k), nil
		}
	}
	return 0, fmt.Errorf("gguf: no kind of metadata value is named %q", s)
}

// Value is a metadata value: a number, a bool, a string, or an array of one kind of these, or of arrays. It keeps the
// value bit for bit. The zero Value is the u8 0.
type Value struct {
	kind ValueType
	elem ValueType // the kind of an array's elements
	bits uint64    // numbers and bools: integers sign-extended, floats by their IEEE bits
	str  string
	list any // arrays: []uint8, []int8 … []string; []Value for arrays of arrays
}

// Type is the value's kind.
func (v Value) Type() ValueType { return v.kind }

// Elem is the kind of an array's elements, and the value's own kind when it is not an array.
func (v Value) Elem() ValueType {
	if v.kind == KindArray {
		return v.elem
	}
	return v.kind
}

// Len is the number of elements of an array, and 1 when the value is not an array.
func (v Value) Len() int {
	if v.kind == KindArray {
		return reflect.ValueOf(v.list).Len()
	}
	return 1
}

// ValueOf makes a Value from a Go value: bool, string, the sized integers and floats, slices of these, a [Value] (kept
// as it is), or a []Value of arrays, for an array of arrays. Slices are copied. An int has no defined size in a file
// and is refused: use int32(n) or uint32(n).
func ValueOf(v any) (Value, error) {
	if val, ok := scalarOf(v); ok {
		return val, nil
	}
	if val, ok := arrayOf(v); ok {
		return val, nil
	}
	if list, ok := v.([]Value); ok {
		return nested(list)
	}
	return Value{}, fmt.Errorf("gguf: a %T cannot be a metadata value", v)
}

func scalarOf(v any) (Value, bool) {
	switch v := v.(type) {
	case Value:
		return v, true
	case uint8:
		return Value{kind: KindUint8, bits: uint64(v)}, true
	case int8:
		return Value{kind: KindInt8, bits: uint64(v)}, true
	case uint16:
		return Value{kind: KindUint16, bits: uint64(v)}, true
	case int16:
		return Value{kind: KindInt16, bits: uint64(v)}, true
	case uint32:
		return Value{kind: KindUint32, bits: uint64(v)}, true
	case int32:
		return Value{kind: KindInt32, bits: uint64(v)}, true
	case float32:
		return Value{kind: KindFloat32, bits: uint64(math.Float32bits(v))}, true
	case bool:
		return boolValue(v), true
	case string:
		return Value{kind: KindString, str: v}, true
	case uint64:
		return Value{kind: KindUint64, bits: v}, true
	case int64:
		return Value{kind: KindInt64, bits: uint64(v)}, true
	case float64:
		return Value{kind: KindFloat64, bits: math.Float64bits(v)}, true
	}
	return Value{}, false
}

func boolValue(b bool) Value {
	if b {
		return Value{kind: KindBool, bits: 1}
	}
	return Value{kind: KindBool}
}

func arrayOf(v any) (Value, bool) {
	switch v := v.(type) {
	case []uint8:
		return array(KindUint8, slices.Clone(v)), true
	case []int8:
		return array(KindInt8, slices.Clone(v)), true
	case []uint16:
		return array(KindUint16, slices.Clone(v)), true
	case []int16:
		return array(KindInt16, slices.Clone(v)), true
	case []uint32:
		return array(KindUint32, slices.Clone(v)), true
	case []int32:
		return array(KindInt32, slices.Clone(v)), true
	case []float32:
		return array(KindFloat32, slices.Clone(v)), true
	case []bool:
		return array(KindBool, slices.Clone(v)), true
	case []string:
		return array(KindString, slices.Clone(v)), true
	case []uint64:
		return array(KindUint64, slices.Clone(v)), true
	case []int64:
		return array(KindInt64, slices.Clone(v)), true
	case []float64:
		return array(KindFloat64, slices.Clone(v)), true
	}
	return Value{}, false
}

func array[T any](elem ValueType, list []T) Value {
	return Value{kind: KindArray, elem: elem, list: list}
}

func nested(list []Value) (Value, error) {
	for _, v := range list {
		if v.kind != KindArray {
			return Value{}, fmt.Errorf("gguf: a []Value must hold arrays, not %v", v.kind)
		}
		if depth(v) >= maxDepth {
			return Value{}, fmt.Errorf("gguf: arrays nested more than %d deep", maxDepth)
		}
	}
	return array(KindArray, slices.Clone(list)), nil
}

// depth is the nesting depth of arrays, 1 for an array of scalars.
func depth(v Value) int {
	list, ok := v.list.([]Value)
	if !ok {
		return 1
	}
	d := 1
	for _, e := range list {
		d = max(d, 1+depth(e))
	}
	return d
}

// Any is the value as a Go value of its own kind: uint8 … float64, bool, string, or a slice of these; []Value for an
// array of arrays. A slice belongs to the Value and must not be written to.
func (v Value) Any() any {
	switch v.kind {
	case KindUint8:
		return uint8(v.bits)
	case KindInt8:
		return int8(v.bits)
	case KindUint16:
		return uint16(v.bits)
	case KindInt16:
		return int16(v.bits)
	case KindUint32:
		return uint32(v.bits)
	case KindInt32:
		return int32(v.bits)
	case KindFloat32:
		return math.Float32frombits(uint32(v.bits))
	case KindBool:
		return v.bits != 0
	case KindString:
		return v.str
	case KindUint64:
		return v.bits
	case KindInt64:
		return int64(v.bits)
	case KindFloat64:
		return math.Float64frombits(v.bits)
	}
	return v.list
}

// Equal says whether two values are the same in kind and to the bit.
func (v Value) Equal(o Value) bool {
	if v.kind != o.kind || v.elem != o.elem || v.bits != o.bits || v.str != o.str {
		return false
	}
	if v.kind != KindArray {
		return true
	}
	if list, ok := v.list.([]Value); ok {
		return slices.EqualFunc(list, o.list.([]Value), Value.Equal)
	}
	if list, ok := v.list.([]string); ok {
		return slices.Equal(list, o.list.([]string))
	}
	e := encoder{format: Format{}.orDefault()}
	return v.Len() == o.Len() && bytes.Equal(e.elements(nil, v), e.elements(nil, o))
}

// shown is the number of elements of an array that String shows.
const shown = 8

// String shows the value: strings quoted, of a long array the first elements and the count.
func (v Value) String() string {
	switch v.kind {
	case KindString:
		return strconv.Quote(v.str)
	case KindArray:
		return v.listString()
	}
	return fmt.Sprint(v.Any())
}

func (v Value) listString() string {
	n := v.Len()
	parts := make([]string, 0, shown+1)
	for i := range min(n, shown) {
		parts = append(parts, v.at(i).String())
	}
	if n > shown {
		parts = append(parts, fmt.Sprintf("… %d in all", n))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// at is element i of an array.
func (v Value) at(i int) Value {
	elem, _ := scalarOf(reflect.ValueOf(v.list).Index(i).Interface())
	return elem
}

// MarshalJSON writes the value as JSON. The floats that JSON has no number for become the strings "NaN", "Infinity" and
// "-Infinity".
func (v Value) MarshalJSON() ([]byte, error) {
	switch list := v.list.(type) {
	case []uint8: // encoding/json would write base64
		return json.Marshal(widen(list, func(x uint8) uint16 { return uint16(x) }))
	case []float32:
		return json.Marshal(widen(list, jsonFloat32))
	case []float64:
		return json.Marshal(widen(list, jsonFloat64))
	}
	switch x := v.Any().(type) {
	case float32:
		return json.Marshal(jsonFloat32(x))
	case float64:
		return json.Marshal(jsonFloat64(x))
	default:
		return json.Marshal(x)
	}
}

func widen[S, T any](list []S, f func(S) T) []T {
	out := make([]T, len(list))
	for i, x := range list {
		out[i] = f(x)
	}
	return out
}

func jsonFloat32(x float32) any {
	if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
		return jsonFloat64(f)
	}
	return x
}

func jsonFloat64(x float64) any {
	switch {
	case math.IsNaN(x):
		return "NaN"
	case math.IsInf(x, 1):
		return "Infinity"
	case math.IsInf(x, -1):
		return "-Infinity"
	}
	return x
}
