package records

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
)

// table reads rows of values with a separator between them. The first row names the fields.
func (s *Source) table(separator rune, each func(*Record) error) error {
	if start, _ := s.data.Peek(3); bytes.Equal(start, []byte("\ufeff")) {
		_, _ = s.data.Discard(3)
	}
	r := csv.NewReader(s.data)
	r.Comma, r.FieldsPerRecord = separator, -1
	names, err := s.row(r)
	if err == io.EOF {
		return nil
	}
	if err != nil {
		return err
	}
	for i, name := range names {
		if name == "" || slices.Contains(names[:i], name) {
			return fmt.Errorf("%s:1: the name of column %d is empty or occurs twice: %q; the first row has to name the fields",
				s.name, i+1, name)
		}
	}
	for {
		s.limit.used = 0
		values, err := s.row(r)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		line, _ := r.FieldPos(0)
		if len(values) != len(names) {
			return fmt.Errorf("%s:%d: %d values, want %d: the fields are %s", s.name, line, len(values), len(names), List(names))
		}
		object := &Object{make([]Field, len(names))}
		for i, value := range values {
			object.fields[i] = Field{names[i], value}
		}
		if err := each(&Record{file: s.name, line: line, object: object}); err != nil {
			return err
		}
	}
}

// row is the next row of a table.
func (s *Source) row(r *csv.Reader) ([]string, error) {
	values, err := r.Read()
	var parse *csv.ParseError
	switch {
	case errors.As(err, &parse):
		return nil, fmt.Errorf("%s:%d: column %d: %w; a value with quotes in it stands in quotes, and they are doubled",
			s.name, parse.Line, parse.Column, parse.Err)
	case err != nil && err != io.EOF:
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	for i, value := range values {
		if at := invalidUTF8([]byte(value)); at >= 0 {
			line, _ := r.FieldPos(i)
			return nil, fmt.Errorf("%s:%d: byte %d of value %d (%#02x) is not UTF-8", s.name, line, at+1, i+1, value[at])
		}
	}
	return values, err
}
