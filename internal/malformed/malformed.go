// Package malformed makes files that are wrong, each in one way that its name says, of good ones. Tests feed them to
// whatever reads files.
//
// The same good file gives the same variants, in the same order.
package malformed

import (
	"bytes"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
)

// Variant is a file that is wrong in one way. Some are only odd: that a reader takes one is no error by itself.
type Variant struct {
	Lie  string
	Data []byte
}

// maker makes variants, one at a time: together they may be large.
type maker struct {
	yield func(Variant) bool
	done  bool
}

func (m *maker) add(data []byte, format string, args ...any) {
	if !m.done {
		m.done = !m.yield(Variant{fmt.Sprintf(format, args...), data})
	}
}

// hugeText is longer than any name or message should be.
const hugeText = 300_000

// Bytes are damages of any file: cut, grown, with bytes that are others.
func Bytes(good []byte) iter.Seq[Variant] {
	return func(yield func(Variant) bool) { (&maker{yield: yield}).bytes(good) }
}

func (m *maker) bytes(good []byte) {
	n := len(good)
	m.add(nil, "empty")
	for _, size := range []int{1, 4, 7, 8, 9, 16, 24, 32, 64} {
		if size < n {
			m.add(good[:size], "cut to %d bytes", size)
		}
	}
	for _, part := range []int{10, 25, 50, 75, 90, 99} {
		m.add(good[:n*part/100], "cut to %d %%", part)
	}
	if n > 0 {
		m.add(good[:n-1], "without its last byte")
		m.add(good[1:], "without its first byte")
	}
	m.add(bytes.Repeat([]byte{0}, n), "zeros")
	m.add(bytes.Repeat([]byte{0xff}, n), "ones")
	m.add(join(good, []byte("more\x00\xff")), "bytes at the end")
	m.add(join(good, good), "twice")
	m.add(join([]byte("\xef\xbb\xbf"), good), "a byte order mark before it")
	m.add(join(good[:n/2], bytes.Repeat([]byte{0}, n-n/2)), "zeros from the middle on")
	r := rand.New(rand.NewPCG(uint64(n), 7))
	for i := range 24 {
		if n == 0 {
			break
		}
		near := n // half of the flips are in the header
		if i%2 == 0 {
			near = min(n, 512)
		}
		at, bit := r.IntN(near), r.IntN(8)
		data := bytes.Clone(good)
		data[at] ^= 1 << bit
		m.add(data, "bit %d of byte %d flipped", bit, at)
	}
	for i := range 8 {
		if n < 16 {
			break
		}
		at := r.IntN(min(n, 1024) - 8)
		data := bytes.Clone(good)
		for j := range 8 {
			data[at+j] = byte(r.Uint32())
		}
		m.add(data, "noise %d in 8 bytes from %d on", i, at)
	}
}

// Texts are damages of a text: of its characters and its lines.
func Texts(good []byte) iter.Seq[Variant] {
	return func(yield func(Variant) bool) { (&maker{yield: yield}).texts(good) }
}

func (m *maker) texts(good []byte) {
	half := len(good) / 2
	for _, piece := range []struct{ name, text string }{
		{"invalid UTF-8", "\xff\xfe\xc3\x28\xed\xa0\x80"}, {"a NUL", "\x00"}, {"escape sequences",
			"\x1b]0;owned\x07\x1b[2J"},
		{"a huge word", strings.Repeat("w", hugeText)}, {"a thousand quotes", strings.Repeat(`"`, 1000)},
		{"deep brackets", strings.Repeat("[", 100_000)}, {"deep braces", strings.Repeat(`{"a":`, 100_000)},
		{"blank lines", strings.Repeat("\n", 10_000)}, {"returns", "\r\r\n\r"},
	} {
		m.add(join(good[:half], []byte(piece.text), good[half:]), "%s in the middle", piece.name)
		m.add(join([]byte(piece.text), good), "%s at the beginning", piece.name)
		m.add([]byte(piece.text), "%s alone", piece.name)
	}
	var wide []byte // UTF-16
	for _, c := range good {
		wide = append(wide, c, 0)
	}
	m.add(wide, "in UTF-16")
}

// Sample is at most n of the variants, evenly spread over them, first and last among them.
func Sample(all iter.Seq[Variant], n int) iter.Seq[Variant] {
	return func(yield func(Variant) bool) {
		count := 0
		for range all {
			count++
		}
		i, taken := 0, 0
		for v := range all {
			if i*(n-1) >= taken*(count-1) {
				if taken++; !yield(v) {
					return
				}
			}
			i++
		}
	}
}

// join is bytes one after the other, in memory of their own.
func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
