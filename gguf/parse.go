package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/peftconv/peftconv/internal/byname"
)

// parse reads header, metadata and tensor table, and points the tensors at their data.
func parse(data []byte) (*File, error) {
	d := &decoder{data: data, place: place{what: "header"}}
	f := &File{Meta: &Metadata{}}
	tensors, values := d.header(f)
	d.metadata(f.Meta, values)
	f.Alignment = d.alignment(f.Meta)
	d.table(f, tensors)
	if d.err != nil {
		return nil, d.err
	}
	f.DataOffset = d.off + pad(d.off, f.Alignment)
	if i, err := f.locate(data); err != nil {
		err.Place, err.Off = fmt.Sprintf("tensor %q", f.Tensors[i].Name), d.lines[i]
		return nil, err
	}
	return f, nil
}

// header reads what stands before the metadata and gives the number of tensors and of values.
func (d *decoder) header(f *File) (tensors, values uint64) {
	if !d.magic() {
		return 0, 0
	}
	d.format.Order = binary.LittleEndian
	at := d.off
	v := d.uint32()
	if v&0xffff == 0 { // a big-endian file: versions are small numbers
		d.format.Order = binary.BigEndian
		v = uint32(v>>24 | v>>8&0xff00)
	}
	if d.err == nil && (v == 0 || v > maxVersion) {
		d.unsupported(at, v, "version %d, expected 1 to %d", v, maxVersion)
	}
	d.format.Version = v
	f.Version, f.Order = v, d.format.Order

	word := int64(d.format.wordSize())
	tensors = d.count("tensors", word+16)       // length of the name, of the shape, type, offset
	values = d.count("metadata values", word+6) // length of the key, a byte of it, kind, a byte of value
	return tensors, values
}

// magic checks the first four bytes, and names well-known formats that are not GGUF.
func (d *decoder) magic() bool {
	got := string(d.data[:min(len(d.data), len(magic))])
	if got == magic {
		d.off += int64(len(magic))
		return true
	}
	switch {
	case strings.HasPrefix(magic, got):
		d.fail(0, got, "the file ends after %d bytes, expected a GGUF header", len(got))
	case got == "lmgg" || got == "fmgg" || got == "tjgg" || got == "algg":
		d.unsupported(0, got, "the file is of a format from before GGUF (magic %q), which is not read", got)
	default:
		d.fail(0, got, "not a GGUF file: it starts with %q, expected %q", got, magic)
	}
	return false
}

// count reads how many things follow, each of which takes at least size bytes.
func (d *decoder) count(things string, size int64) uint64 {
	at := d.off
	n := d.word()
	if room := uint64(d.left() / size); d.err == nil && n > room {
		d.fail(at, n, "announces %d %s, the %d bytes that follow have room for %d", n, things, d.left(), room)
		return 0
	}
	return n
}

// metadata reads n keys and values.
func (d *decoder) metadata(m *Metadata, n uint64) {
	m.entries = make([]entry, 0, n)
	m.index = make(map[string]int, n)
	for i := uint64(0); i < n && d.err == nil; i++ {
		d.place = place{what: "metadata value", i: i + 1, n: n}
		at := d.off
		key := d.string()
		if d.err != nil {
			return
		}
		switch _, twice := m.index[key]; {
		case key == "" || len(key) > maxKey:
			d.fail(at, key, "its key has %d bytes, expected 1 to %d", len(key), maxKey)
		case twice:
			d.fail(at, key, "the key %q occurs twice", key)
		}
		d.place = place{what: "key", name: key}
		v := d.value(0)
		if d.err == nil {
			m.put(key, v)
		}
	}
}

// alignment finds the alignment of tensor data in the metadata.
func (d *decoder) alignment(m *Metadata) int64 {
	n, err := alignment(m)
	if err != nil && d.err == nil {
		d.place = place{what: "key", name: keyAlignment}
		v, _ := m.Get(keyAlignment)
		d.fail(d.off, v.Any(), "%v", err)
	}
	return n
}

// alignment is the alignment that the metadata ask for.
func alignment(m *Metadata) (int64, error) {
	v, ok := m.Get(keyAlignment)
	if !ok {
		return defaultAlignment, nil
	}
	if v.kind != KindUint32 {
		return 0, fmt.Errorf("the alignment is of kind %v, expected %v", v.kind, KindUint32)
	}
	if v.bits == 0 || v.bits&(v.bits-1) != 0 {
		return 0, fmt.Errorf("the alignment is %d, expected a power of two", v.bits)
	}
	return int64(v.bits), nil
}

// table reads n lines of the tensor table.
func (d *decoder) table(f *File, n uint64) {
	if d.err != nil {
		return
	}
	f.Tensors = make([]*Tensor, 0, n)
	f.names = byname.New(int(n), nameOf)
	f.home = &home{order: d.format.Order}
	var room []Tensor // in pieces: to have each tensor alone would take more, and n may be a lie
	d.lines = make([]int64, 0, n)
	for i := uint64(0); i < n && d.err == nil; i++ {
		d.place = place{what: "tensor", i: i + 1, n: n}
		at := d.off
		if len(room) == 0 {
			room = make([]Tensor, min(n-i, 1024))
		}
		t := &room[0]
		room = room[1:]
		t.Name, t.home = d.string(), f.home
		d.checkName(at, f, t.Name)
		d.place.name = t.Name
		d.tensor(at, t)
		f.Tensors = append(f.Tensors, t)
		f.names.Add(t)
		d.lines = append(d.lines, at)
	}
}

func (d *decoder) checkName(at int64, f *File, name string) {
	switch {
	case d.err != nil:
	case len(name) > maxName:
		d.fail(at, name, "its name has %d bytes, at most %d can be: %.80q", len(name), maxName, name)
	case f.names.Find(name) != nil:
		d.fail(at, name, "the name %q occurs twice", name)
	}
}

// tensor reads the rest of a line of the table that starts at byte at.
func (d *decoder) tensor(at int64, t *Tensor) {
	dims := d.uint32()
	if d.err == nil && dims > maxDims {
		d.fail(at, dims, "has %d dimensions, expected at most %d", dims, maxDims)
	}
	if d.err != nil {
		return
	}
	t.Shape = make([]int64, dims)
	for i := range t.Shape {
		n := d.word()
		if n > math.MaxInt64 {
			d.fail(at, n, "dimension %d is %d, more than any file can hold", i, n)
		}
		t.Shape[i] = int64(n)
	}
	t.Type = Type(d.uint32())
	t.Offset = d.uint64()
	if d.err != nil {
		return
	}
	if _, err := t.size(); err != nil {
		d.fail(at, t.Shape, "%v", err)
	}
}

// locate checks that the tensors' data follow one another and lie within the file, and makes the views. It returns the
// first tensor that violates this.
func (f *File) locate(data []byte) (int, *FormatError) {
	file := int64(len(data))
	data = data[min(f.DataOffset, int64(len(data))):]
	end := uint64(0) // of the data so far, with padding
	for i, t := range f.Tensors {
		if i > 0 && !f.Tensors[i-1].Type.Known() {
			end = t.Offset // the size of an unknown type is not known: the next offset determines it
		}
		if t.Offset != end {
			return i, wrong(t.Offset, "its data are at offset %d, expected %d: the data of tensors follow one another, each "+
				"padded to a multiple of %d bytes", t.Offset, end, f.Alignment)
		}
		size, err := f.room(i, uint64(len(data)))
		if err != nil {
			return i, err
		}
		t.data = data[t.Offset : t.Offset+size : t.Offset+size]
		end += size + uint64(pad(int64(size), f.Alignment))
	}
	end += uint64(f.DataOffset)
	f.Extra = max(0, file-int64(end))
	f.missing = max(0, int64(end)-file)
	return 0, nil
}

// room is the number of bytes that tensor i takes of avail bytes of data.
func (f *File) room(i int, avail uint64) (uint64, *FormatError) {
	t := f.Tensors[i]
	switch {
	case t.Offset%uint64(f.Alignment) != 0:
		return 0, wrong(t.Offset, "its data are at offset %d, not a multiple of %d bytes", t.Offset, f.Alignment)
	case t.Offset > avail:
		return 0, wrong(t.Offset, "its data start at offset %d, beyond the %d bytes of data in the file (is it complete?)",
			t.Offset, avail)
	}
	size := uint64(t.Size())
	if !t.Type.Known() {
		size = avail - t.Offset
		if i+1 < len(f.Tensors) {
			next := f.Tensors[i+1].Offset
			if next < t.Offset || next > avail {
				return 0, wrong(next, "its data are at offset %d of %d, those of the next tensor at %d", t.Offset, avail, next)
			}
			size = next - t.Offset
		}
	}
	if size > avail-t.Offset {
		base := uint64(f.DataOffset)
		return 0, wrong(size, "its %d bytes of data end at %d, beyond the file's %d bytes (is it complete?)",
			size, base+t.Offset+size, base+avail)
	}
	return size, nil
}

// wrong is a FormatError that still lacks its place.
func wrong(val any, msg string, args ...any) *FormatError {
	return &FormatError{Msg: fmt.Sprintf(msg, args...), Val: val}
}
