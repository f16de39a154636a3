package imatrix

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The older form, little-endian: the number of entries; of each the length of its name, the name, the number of
// windows, the number of values, and the values, means of squares times the number of windows; then, where the file
// goes on, the number of windows and the name of the text with its length before it. All numbers have 32 bits.

// parseDat reads the older form.
func parseDat(data []byte) (*Matrix, error) {
	d := &datReader{data: data}
	n, err := d.count("number of entries")
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, errors.New("holds no entries, so it is no importance matrix")
	}
	m := &Matrix{}
	for i := range n {
		e, err := d.entry()
		if err == nil {
			err = m.insert(e)
		}
		if err != nil {
			return nil, fmt.Errorf("entry %d of %d: %w", i+1, n, err)
		}
	}
	if err := d.trailer(m); err != nil {
		return nil, err
	}
	return m, nil
}

// datReader goes through a file of the older form.
type datReader struct {
	data []byte
	off  int
}

// take is the next n bytes.
func (d *datReader) take(n int, what string) ([]byte, error) {
	if n > len(d.data)-d.off {
		return nil, fmt.Errorf("the file ends within %s: %d bytes at byte %d, expected %d", what, len(d.data)-d.off, d.off, n)
	}
	b := d.data[d.off : d.off+n]
	d.off += n
	return b, nil
}

// count is the next number, which cannot be negative.
func (d *datReader) count(what string) (int, error) {
	at := d.off
	b, err := d.take(4, "the "+what)
	if err != nil {
		return 0, err
	}
	n := int32(binary.LittleEndian.Uint32(b))
	if n < 0 {
		return 0, fmt.Errorf("the %s at byte %d is %d, so it is no importance matrix", what, at, n)
	}
	return int(n), nil
}

// text is the next string with its length before it.
func (d *datReader) text(what string) (string, error) {
	n, err := d.count("length of " + what)
	if err != nil {
		return "", err
	}
	b, err := d.take(n, what)
	return string(b), err
}

func (d *datReader) entry() (*Entry, error) {
	name, err := d.text("a name")
	if err != nil {
		return nil, err
	}
	windows, err := d.count("number of windows")
	if err != nil {
		return nil, err
	}
	n, err := d.count("number of values")
	if err != nil {
		return nil, err
	}
	if n > math.MaxInt/4 {
		return nil, fmt.Errorf("%d values are more than any file holds", n)
	}
	b, err := d.take(4*n, fmt.Sprintf("the values of %q", name))
	if err != nil {
		return nil, err
	}
	e := &Entry{Name: name, Sums: make([]float32, n), Counts: []int64{int64(windows)}, windows: true}
	for i := range e.Sums {
		e.Sums[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return e, e.check()
}

// trailer reads what newer files of this form have at their end.
func (d *datReader) trailer(m *Matrix) (err error) {
	if d.off == len(d.data) {
		return nil
	}
	if m.Chunks, err = d.count("number of windows"); err != nil || d.off == len(d.data) {
		return err
	}
	dataset, err := d.text("the name of the text")
	if err == nil && dataset != "" {
		m.Datasets = []string{dataset}
	}
	return err
}
