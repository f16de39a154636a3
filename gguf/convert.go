package gguf

import "math"

// Str is the value when it is a string.
func (v Value) Str() (string, bool) { return v.str, v.kind == KindString }

// Bool is the value when it is a bool.
func (v Value) Bool() (value, ok bool) { return v.kind == KindBool && v.bits != 0, v.kind == KindBool }

// Int is the value when it is a number that an int64 holds exactly.
func (v Value) Int() (int64, bool) {
	switch v.kind {
	case KindUint8, KindUint16, KindUint32, KindInt8, KindInt16, KindInt32, KindInt64:
		return int64(v.bits), true
	case KindUint64:
		return int64(v.bits), v.bits <= math.MaxInt64
	case KindFloat32, KindFloat64:
		f := v.float()
		if f != math.Trunc(f) || f < -1<<63 || f >= 1<<63 {
			return 0, false
		}
		return int64(f), true
	}
	return 0, false
}

// Uint is the value when it is a number that a uint64 holds exactly.
func (v Value) Uint() (uint64, bool) {
	if v.kind == KindUint64 {
		return v.bits, true
	}
	n, ok := v.Int()
	return uint64(n), ok && n >= 0
}

// Float is the value when it is a number. An integer beyond 2^53 is rounded.
func (v Value) Float() (float64, bool) {
	switch v.kind {
	case KindFloat32, KindFloat64:
		return v.float(), true
	case KindUint64:
		return float64(v.bits), true
	}
	n, ok := v.Int()
	return float64(n), ok
}

func (v Value) float() float64 {
	if v.kind == KindFloat32 {
		return float64(math.Float32frombits(uint32(v.bits)))
	}
	return math.Float64frombits(v.bits)
}

// Strings is the value when it is an array of strings. It belongs to the Value and must not be written to.
func (v Value) Strings() ([]string, bool) {
	list, ok := v.list.([]string)
	return list, ok
}

// Bools is the value when it is an array of bools. It belongs to the Value and must not be written to.
func (v Value) Bools() ([]bool, bool) {
	list, ok := v.list.([]bool)
	return list, ok
}

// Ints is the value when it is an array of numbers that int64s hold exactly.
func (v Value) Ints() ([]int64, bool) {
	switch list := v.list.(type) {
	case []uint8:
		return widen(list, func(x uint8) int64 { return int64(x) }), true
	case []int8:
		return widen(list, func(x int8) int64 { return int64(x) }), true
	case []uint16:
		return widen(list, func(x uint16) int64 { return int64(x) }), true
	case []int16:
		return widen(list, func(x int16) int64 { return int64(x) }), true
	case []uint32:
		return widen(list, func(x uint32) int64 { return int64(x) }), true
	case []int32:
		return widen(list, func(x int32) int64 { return int64(x) }), true
	}
	return v.eachInt()
}

// eachInt is Ints for the kinds of which not every value fits.
func (v Value) eachInt() ([]int64, bool) {
	switch v.Elem() {
	case KindUint64, KindInt64, KindFloat32, KindFloat64:
	default:
		return nil, false
	}
	if v.kind != KindArray {
		return nil, false
	}
	out := make([]int64, v.Len())
	for i := range out {
		n, ok := v.at(i).Int()
		if !ok {
			return nil, false
		}
		out[i] = n
	}
	return out, true
}

// Floats is the value when it is an array of numbers, each rounded to the nearest float32. An array of float32 belongs
// to the Value and must not be written to.
func (v Value) Floats() ([]float32, bool) {
	switch list := v.list.(type) {
	case []float32:
		return list, true
	case []float64:
		return widen(list, func(x float64) float32 { return float32(x) }), true
	case []uint64:
		return widen(list, func(x uint64) float32 { return float32(x) }), true
	}
	ints, ok := v.Ints()
	if !ok {
		return nil, false
	}
	return widen(ints, func(x int64) float32 { return float32(x) }), true
}
