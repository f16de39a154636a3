package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/peftconv/peftconv/internal/byname"
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
	p := &parser{File: &File{home: &home{}}, scanner: scanner{text: header, base: 8}}
	// Room for all of them at once: to grow would take as much again. What is counted may stand in a name, too.
	entries := bytes.Count(header, []byte(`"data_offsets"`))
	p.names, p.info = byname.New(entries, nameOf), make([]info, 0, entries)
	if err := p.members("header", p.isNew, p.entry); err != nil {
		return nil, err
	}
	if err := p.end("header"); err != nil {
		return nil, err
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
	scanner
	info []info   // header entry of each tensor
	room []Tensor // for those to come: to have each tensor alone would take more
}

// isNew reports whether a key of the header has not been there before. The tensors themselves are asked: a header may
// have hundreds of thousands, and a list of the keys beside them would take as much again.
func (p *parser) isNew(key string) bool {
	return p.names.Find(key) == nil && (key != metadataKey || p.Metadata == nil)
}

// info is the header entry of a tensor: where its data are.
type info struct {
	tensor     *Tensor
	begin, end uint64 // of its data, in bytes from the end of the header
	line       int64  // of the entry, in bytes from the start of the file
}

// entry reads the value of a key of the header.
func (p *parser) entry(key string) error {
	if key == metadataKey {
		return p.metadata()
	}
	if len(p.room) == 0 {
		p.room = make([]Tensor, min(1024, max(1, cap(p.info)-len(p.info))))
	}
	t := &p.room[0]
	p.room = p.room[1:]
	t.Name, t.home = key, p.home
	if err := p.tensor(t); err != nil {
		return err
	}
	p.names.Add(t)
	return nil
}

func (p *parser) metadata() error {
	p.Metadata = map[string]string{}
	return p.object(metadataKey, func(key string) (err error) {
		p.Metadata[key], err = p.string(metadataKey)
		return err
	})
}

// tensor reads the header entry of a tensor.
func (p *parser) tensor(t *Tensor) error {
	const place = ofTensor
	p.tensorName = t.Name
	in := info{tensor: t, line: p.base + int64(p.pos)}
	var shape, offsets []uint64
	err := p.object(place, func(key string) (err error) {
		switch key {
		case "dtype":
			var dtype string
			dtype, err = p.string(place)
			t.DType = asKnown(DType(dtype))
		case "shape":
			shape, err = p.numbers(place)
		case "data_offsets":
			offsets, err = p.numbers(place)
		default: // the reference library ignores unknown fields
			err = p.skip(place)
		}
		return err
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

// locate checks that the tensors cover the data exactly, one after the other, and makes the views. base is where the
// data start in the file.
func (p *parser) locate(data []byte, base int64) error {
	p.Tensors = make([]*Tensor, 0, len(p.info))
	slices.SortStableFunc(p.info, func(a, b info) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	at := uint64(0)
	for _, in := range p.info {
		t := in.tensor
		if err := in.check(at, uint64(len(data))); err != nil {
			return &FormatError{Place: fmt.Sprintf("tensor %q", t.Name), Off: in.line, Msg: err.Error(),
				Val: []uint64{in.begin, in.end}}
		}
		t.data = data[in.begin:in.end:in.end]
		p.Tensors = append(p.Tensors, t)
		at = in.end
	}
	if rest := uint64(len(data)) - at; rest > 0 {
		return &FormatError{Place: "data", Off: base + int64(at),
			Msg: fmt.Sprintf("%d bytes follow that belong to no tensor", rest), Val: rest}
	}
	return nil
}

// check compares the position of a tensor with its size, with the end of the tensor before it and with the end of the
// data.
func (in info) check(start, end uint64) error {
	size, err := in.tensor.size()
	switch {
	case err != nil:
		return err
	case in.begin != start:
		return fmt.Errorf("its data start at %d, expected %d, where those before it end", in.begin, start)
	case in.end < in.begin || in.end-in.begin != uint64(size):
		return fmt.Errorf("its data are at %d to %d, expected %d bytes for %s %v", in.begin, in.end, size, in.tensor.DType,
			in.tensor.Shape)
	case in.end > end:
		return fmt.Errorf("its data end at %d, beyond the %d bytes of data in the file (is it complete?)", in.end, end)
	}
	return nil
}
