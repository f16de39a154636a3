package gguf

import "math"

// encoder appends values in a file's form.
type encoder struct{ format Format }

func (e encoder) uint16(b []byte, v uint16) []byte {
	var p [2]byte
	e.format.Order.PutUint16(p[:], v)
	return append(b, p[:]...)
}

func (e encoder) uint32(b []byte, v uint32) []byte {
	var p [4]byte
	e.format.Order.PutUint32(p[:], v)
	return append(b, p[:]...)
}

func (e encoder) uint64(b []byte, v uint64) []byte {
	var p [8]byte
	e.format.Order.PutUint64(p[:], v)
	return append(b, p[:]...)
}

// word is a count or a length; what version 1 cannot hold has been refused before.
func (e encoder) word(b []byte, n uint64) []byte {
	if e.format.wordSize() == 4 {
		return e.uint32(b, uint32(n))
	}
	return e.uint64(b, n)
}

func (e encoder) string(b []byte, s string) []byte {
	return append(e.word(b, uint64(len(s))), s...)
}

// value appends a value with its kind before it.
func (e encoder) value(b []byte, v Value) []byte {
	b = e.uint32(b, uint32(v.kind))
	switch v.kind {
	case KindArray:
		return e.array(b, v)
	case KindString:
		return e.string(b, v.str)
	}
	return e.scalar(b, v)
}

func (e encoder) scalar(b []byte, v Value) []byte {
	switch kinds[v.kind].size {
	case 1:
		return append(b, byte(v.bits))
	case 2:
		return e.uint16(b, uint16(v.bits))
	case 4:
		return e.uint32(b, uint32(v.bits))
	}
	return e.uint64(b, v.bits)
}

// array appends what follows the kind of an array.
func (e encoder) array(b []byte, v Value) []byte {
	b = e.uint32(b, uint32(v.elem))
	b = e.word(b, uint64(v.Len()))
	return e.elements(b, v)
}

// elements appends what is in an array.
func (e encoder) elements(b []byte, v Value) []byte {
	switch list := v.list.(type) {
	case []string:
		return encodeList(b, list, e.string)
	case []Value:
		return encodeList(b, list, e.array)
	case []uint8:
		return append(b, list...)
	case []int8:
		return encodeList(b, list, func(b []byte, x int8) []byte { return append(b, byte(x)) })
	case []bool:
		return encodeList(b, list, func(b []byte, x bool) []byte { return append(b, byte(boolValue(x).bits)) })
	case []uint16:
		return encodeList(b, list, e.uint16)
	case []int16:
		return encodeList(b, list, func(b []byte, x int16) []byte { return e.uint16(b, uint16(x)) })
	case []uint32:
		return encodeList(b, list, e.uint32)
	case []int32:
		return encodeList(b, list, func(b []byte, x int32) []byte { return e.uint32(b, uint32(x)) })
	case []float32:
		return encodeList(b, list, func(b []byte, x float32) []byte { return e.uint32(b, math.Float32bits(x)) })
	case []uint64:
		return encodeList(b, list, e.uint64)
	case []int64:
		return encodeList(b, list, func(b []byte, x int64) []byte { return e.uint64(b, uint64(x)) })
	case []float64:
		return encodeList(b, list, func(b []byte, x float64) []byte { return e.uint64(b, math.Float64bits(x)) })
	}
	return b
}

func encodeList[T any](b []byte, list []T, encode func([]byte, T) []byte) []byte {
	for _, x := range list {
		b = encode(b, x)
	}
	return b
}
