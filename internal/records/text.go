package records

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Section is about how many bytes of a text are read at once.
const Section = 1 << 20

// Sections are the text of a file, in sections of about the given number of bytes; up to twice that number is one
// section. A section ends with a line break between two characters that are no white space, where there is one, so that
// tokenizers cut the text there too; otherwise with another line break. A Parquet file is an error; other records are
// read as the text that they are.
func (s *Source) Sections(bytes int) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		err := s.sections(bytes, func(text string) bool { return yield(text, nil) })
		if err != nil {
			yield("", err)
		}
	}
}

func (s *Source) sections(size int, yield func(string) bool) error {
	if s.format == Parquet {
		return fmt.Errorf("%s: records with fields, want a text", s.name)
	}
	s.limit.most = 0
	buffer := make([]byte, 0, 64<<10)
	line := 1
	for first := true; ; first = false {
		var end bool
		var err error
		if buffer, end, err = fill(s.data, buffer, 2*size); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		text := string(buffer)
		if !end {
			text = text[:cut(text, size)]
		}
		buffer = append(buffer[:0], buffer[len(text):]...)
		if first {
			text = strings.TrimPrefix(text, "\ufeff")
			if text == "" {
				return fmt.Errorf("%s: the file is empty", s.name)
			}
		}
		if err := checkUTF8(text, line); err != nil {
			return fmt.Errorf("%s:%w", s.name, err)
		}
		line += strings.Count(text, "\n")
		if !yield(text) || end {
			return nil
		}
	}
}

// cut is where a section of about some bytes ends, in a text of more than that.
func cut(text string, size int) int {
	last := 0 // line break
	for at := size; at > 1; {
		n := strings.LastIndexByte(text[:at], '\n')
		if n < 1 {
			break
		}
		last = max(last, n+1)
		if !unicode.IsSpace(rune(text[n-1])) && !unicode.IsSpace(rune(text[n+1])) {
			return n + 1
		}
		at = n
	}
	if last > 0 {
		return last
	}
	if n := strings.IndexByte(text, '\n') + 1; n > 0 {
		return n
	}
	return len(wholeRunes(text))
}

// wholeRunes is a text without a last character that is cut.
func wholeRunes(text string) string {
	for n := 1; n < utf8.UTFMax && n < len(text); n++ {
		if b := text[len(text)-n]; utf8.RuneStart(b) {
			if !utf8.FullRuneInString(text[len(text)-n:]) {
				return text[:len(text)-n]
			}
			break
		}
	}
	return text
}

// fill reads until the buffer has more than a number of bytes, or the file ends.
func fill(r io.Reader, buffer []byte, most int) (filled []byte, end bool, err error) {
	for len(buffer) <= most {
		if len(buffer) == cap(buffer) {
			buffer = append(buffer, 0)[:len(buffer)]
		}
		n, err := r.Read(buffer[len(buffer):min(cap(buffer), most+1)])
		buffer = buffer[:len(buffer)+n]
		if err == io.EOF {
			return buffer, true, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
	return buffer, false, nil
}

// checkUTF8 is an error that begins with the line of the first byte that is not UTF-8.
func checkUTF8(text string, line int) error {
	at := invalidUTF8([]byte(text))
	if at < 0 {
		return nil
	}
	if line == 1 && (strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff")) {
		return errors.New("1: the text is UTF-16, want UTF-8")
	}
	line += strings.Count(text[:at], "\n")
	column := at - strings.LastIndexByte(text[:at], '\n')
	return fmt.Errorf("%d: byte %d of the line (%#02x) is not UTF-8", line, column, text[at])
}
