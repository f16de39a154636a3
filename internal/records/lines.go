package records

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// lines reads one object a line. Blank lines are nothing.
func (s *Source) lines(each func(*Record) error) error {
	line := make([]byte, 0, shortLine)
	for number := 1; ; number++ {
		s.limit.used = 0
		var err error
		line, err = readLine(s.data, line[:0])
		if err != nil && err != io.EOF {
			return fmt.Errorf("%s:%d: %w", s.name, number, err)
		}
		if number == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		if text := bytes.TrimSpace(line); len(text) > 0 {
			r := &Record{file: s.name, line: number, raw: text}
			r.column = bytes.IndexByte(line, text[0])
			if len(text) <= shortLine {
				r.raw = bytes.Clone(text)
			} else {
				line = make([]byte, 0, shortLine) // this one is the record's
			}
			if err := each(r); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

// shortLine is the length up to which a line is copied out of the buffer of all lines.
const shortLine = 64 << 10

// readLine appends the next line to line. Memory grows fourfold at a time: what is not written to is no memory yet, so
// that a long line takes its own size and a quarter for the last copy, not twice its size.
func readLine(r *bufio.Reader, line []byte) ([]byte, error) {
	for {
		part, err := r.ReadSlice('\n')
		if room := cap(line); room-len(line) < len(part) {
			for room-len(line) < len(part) {
				room = 4 * max(room, shortLine)
			}
			line = append(make([]byte, 0, room), line...)
		}
		line = append(line, part...)
		if err != bufio.ErrBufferFull {
			return line, err
		}
	}
}

// array reads the objects of a JSON array.
func (s *Source) array(each func(*Record) error) error {
	count := &lineCounter{from: s.data, line: 1}
	if start, _ := s.data.Peek(3); bytes.Equal(start, []byte("\ufeff")) {
		_, _ = s.data.Discard(3)
	}
	d := json.NewDecoder(count)
	fail := func(err error, what string) error {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) || errors.Is(err, io.ErrUnexpectedEOF) {
			at := d.InputOffset()
			if syntax != nil {
				at = syntax.Offset
			}
			return fmt.Errorf("%s:%d: %snot JSON: %w; want an array of objects", s.name, count.at(at), what, err)
		}
		return fmt.Errorf("%s:%d: %s%w", s.name, count.at(d.InputOffset()), what, err)
	}
	if _, err := d.Token(); err != nil {
		return fail(err, "")
	}
	for number := 1; d.More(); number++ {
		s.limit.used = 0
		var raw json.RawMessage
		what := fmt.Sprintf("record %d: ", number)
		if err := d.Decode(&raw); err != nil {
			return fail(err, what)
		}
		line := count.at(d.InputOffset() - int64(len(raw)))
		r := &Record{file: s.name, line: line, number: number, raw: raw}
		if err := each(r); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fail(err, "")
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%s:%d: more data after the array", s.name, count.at(d.InputOffset()))
	}
	return nil
}

// lineCounter passes bytes on and remembers where lines end.
type lineCounter struct {
	from io.Reader
	read int64
	ends []int64 // offsets behind the ends of lines, from the line that was asked for last
	line int     // the line at the last offset that was asked for
}

// Read implements io.Reader.
func (c *lineCounter) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	for i, b := range p[:n] {
		if b == '\n' {
			c.ends = append(c.ends, c.read+int64(i)+1)
		}
	}
	c.read += int64(n)
	return n, err
}

// at is the line of an offset. Offsets must not fall.
func (c *lineCounter) at(offset int64) int {
	n := 0
	for n < len(c.ends) && c.ends[n] <= offset {
		n++
	}
	c.line += n
	c.ends = append(c.ends[:0], c.ends[n:]...)
	return c.line
}
