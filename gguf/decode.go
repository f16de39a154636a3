package gguf

import (
	"fmt"
	"math"
)

// decoder reads a header from front to back. After the first error it reads zeros, and err holds that error.
type decoder struct {
	data   []byte
	off    int64
	format Format
	place  place
	err    error
	lines  []int64 // where each line of the tensor table starts
}

// place is what is being read, for errors: `tensor "a"`, "tensor 3 of 5", "header".
type place struct {
	what string
	name string // once it is known
	i, n uint64 // else which of how many, from 1
}

func (p place) String() string {
	switch {
	case p.name != "":
		return fmt.Sprintf("%s %q", p.what, p.name)
	case p.n > 0:
		return fmt.Sprintf("%s %d of %d", p.what, p.i, p.n)
	}
	return p.what
}

// fail records an error about the bytes at offset off.
func (d *decoder) fail(off int64, val any, msg string, args ...any) {
	if d.err == nil {
		d.err = &FormatError{Place: d.place.String(), Off: off, Msg: fmt.Sprintf(msg, args...), Val: val}
	}
}

// unsupported is fail of what is well formed.
func (d *decoder) unsupported(off int64, val any, msg string, args ...any) {
	if d.err == nil {
		d.err = &FormatError{Place: d.place.String(), Off: off, Msg: fmt.Sprintf(msg, args...), Val: val, unsupported: true}
	}
}

// left is the number of bytes not yet read.
func (d *decoder) left() int64 { return int64(len(d.data)) - d.off }

// take is the next n bytes, nil when there are not as many.
func (d *decoder) take(n uint64) []byte {
	if d.err != nil {
		return nil
	}
	if n > uint64(d.left()) {
		d.fail(d.off, n, "takes %d bytes from here, the file has %d more", n, d.left())
		return nil
	}
	b := d.data[d.off : d.off+int64(n)]
	d.off += int64(n)
	return b
}

func (d *decoder) uint32() uint32 {
	if b := d.take(4); b != nil {
		return d.format.Order.Uint32(b)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if b := d.take(8); b != nil {
		return d.format.Order.Uint64(b)
	}
	return 0
}

// word is a count or a length: four bytes in version 1, eight after it.
func (d *decoder) word() uint64 {
	if d.format.wordSize() == 4 {
		return uint64(d.uint32())
	}
	return d.uint64()
}

// length is a word that says how many things follow.
func (d *decoder) length(things string) uint64 {
	at := d.off
	n := d.word()
	if n > maxLen {
		d.fail(at, n, "announces %d %s, at most %d can be", n, things, maxLen)
		return 0
	}
	return n
}

func (d *decoder) string() string { return string(d.take(d.length("bytes of text"))) }

// value reads a value with its kind before it; depth is how many arrays it stands in.
func (d *decoder) value(depth int) Value {
	kind := d.kind()
	switch {
	case d.err != nil:
		return Value{}
	case kind == KindArray:
		return d.array(depth + 1)
	case kind == KindString:
		return Value{kind: kind, str: d.string()}
	}
	return Value{kind: kind, bits: d.scalar(kind)}
}

func (d *decoder) kind() ValueType {
	at := d.off
	kind := ValueType(d.uint32())
	if !kind.valid() {
		d.fail(at, uint32(kind), "the kind of value is %d, expected 0 to %d", uint32(kind), len(kinds)-1)
	}
	return kind
}

// scalar reads a number or a bool and returns its bits as a Value stores them.
func (d *decoder) scalar(kind ValueType) uint64 {
	at := d.off
	b := d.take(uint64(kinds[kind].size))
	if b == nil {
		return 0
	}
	order := d.format.Order
	switch kind {
	case KindUint8:
		return uint64(b[0])
	case KindInt8:
		return uint64(int8(b[0]))
	case KindBool:
		d.bool(at, b[0])
		return uint64(b[0])
	case KindUint16:
		return uint64(order.Uint16(b))
	case KindInt16:
		return uint64(int16(order.Uint16(b)))
	case KindInt32:
		return uint64(int32(order.Uint32(b)))
	case KindUint32, KindFloat32:
		return uint64(order.Uint32(b))
	}
	return order.Uint64(b)
}

func (d *decoder) bool(at int64, b byte) bool {
	if b > 1 {
		d.fail(at, b, "a bool is the byte %d, expected 0 or 1", b)
	}
	return b == 1
}

// array reads what follows the kind of an array.
func (d *decoder) array(depth int) Value {
	at := d.off
	elem := d.kind()
	if depth > maxDepth {
		d.fail(at, depth, "arrays stand in one another more than %d deep", maxDepth)
	}
	n := d.length("elements")
	if d.err != nil {
		return Value{}
	}
	switch elem {
	case KindString:
		return array(elem, d.strings(n))
	case KindArray:
		return array(elem, d.arrays(n, depth))
	}
	return d.numbers(elem, n)
}

// strings reads n strings. They share one piece of memory, so a vocabulary takes two allocations instead of a hundred
// thousand.
func (d *decoder) strings(n uint64) []string {
	word := uint64(d.format.wordSize())
	if room := uint64(d.left()) / word; n > room {
		d.fail(d.off, n, "announces %d strings, the %d bytes that follow have room for %d", n, d.left(), room)
		return nil
	}
	start := d.off
	for i := uint64(0); i < n; i++ {
		d.take(d.length("bytes of text"))
	}
	if d.err != nil {
		return nil
	}
	all := string(d.data[start:d.off])
	d.off = start
	list := make([]string, n)
	for i := range list {
		size := d.word()
		from := d.off - start
		list[i] = all[from : from+int64(size)]
		d.off += int64(size)
	}
	return list
}

// arrays reads n arrays, each with its kind and count before it.
func (d *decoder) arrays(n uint64, depth int) []Value {
	if room := uint64(d.left()) / uint64(4+d.format.wordSize()); n > room {
		d.fail(d.off, n, "announces %d arrays, the %d bytes that follow have room for %d", n, d.left(), room)
		return nil
	}
	list := make([]Value, n)
	for i := range list {
		if list[i] = d.array(depth + 1); d.err != nil {
			return nil
		}
	}
	return list
}

// numbers reads an array of n numbers or bools.
func (d *decoder) numbers(elem ValueType, n uint64) Value {
	at, order := d.off, d.format.Order
	b := d.take(n * uint64(kinds[elem].size)) // n ≤ 2^30
	if d.err != nil {
		return Value{}
	}
	switch elem {
	case KindUint8:
		return array(elem, append([]uint8{}, b...))
	case KindInt8:
		return array(elem, decodeList(b, 1, func(b []byte) int8 { return int8(b[0]) }))
	case KindBool:
		i := at - 1
		return array(elem, decodeList(b, 1, func(b []byte) bool { i++; return d.bool(i, b[0]) }))
	case KindUint16:
		return array(elem, decodeList(b, 2, order.Uint16))
	case KindInt16:
		return array(elem, decodeList(b, 2, func(b []byte) int16 { return int16(order.Uint16(b)) }))
	case KindUint32:
		return array(elem, decodeList(b, 4, order.Uint32))
	case KindInt32:
		return array(elem, decodeList(b, 4, func(b []byte) int32 { return int32(order.Uint32(b)) }))
	case KindFloat32:
		return array(elem, decodeList(b, 4, func(b []byte) float32 { return math.Float32frombits(order.Uint32(b)) }))
	case KindUint64:
		return array(elem, decodeList(b, 8, order.Uint64))
	case KindInt64:
		return array(elem, decodeList(b, 8, func(b []byte) int64 { return int64(order.Uint64(b)) }))
	}
	return array(elem, decodeList(b, 8, func(b []byte) float64 { return math.Float64frombits(order.Uint64(b)) }))
}

// decodeList decodes every size bytes of b.
func decodeList[T any](b []byte, size int, decode func([]byte) T) []T {
	list := make([]T, len(b)/size)
	for i := range list {
		list[i] = decode(b[i*size : (i+1)*size])
	}
	return list
}
