package records

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/peftconv/peftconv/internal/infile"
)

// Format is how a file holds its records.
type Format string

// The formats.
const (
	JSONL   Format = "jsonl"
	JSON    Format = "json"
	CSV     Format = "csv"
	TSV     Format = "tsv"
	Parquet Format = "parquet"
	Text    Format = "txt" // one text, which is no record
)

// Formats are all formats.
func Formats() []string {
	return []string{string(JSONL), string(JSON), string(CSV), string(TSV), string(Parquet), string(Text)}
}

// Stdin is the path of standard input.
const Stdin = "-"

// maxRecord is the most bytes of one record.
const maxRecord = 256 << 20

// extensions are the formats of files by the ends of their names.
var extensions = map[string]Format{
	".jsonl": JSONL, ".ndjson": JSONL, ".json": JSON, ".csv": CSV, ".tsv": TSV, ".parquet": Parquet,
	".txt": Text, ".text": Text, ".md": Text, ".raw": Text,
}

// FormatOf is the format of a file by its name, compressed or not; "" where the name does not tell.
func FormatOf(path string) Format {
	name := strings.ToLower(filepath.Base(path))
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".zst")
	return extensions[filepath.Ext(name)]
}

// Options says how files are opened.
type Options struct {
	Format Format    // of files whose names do not tell, and of standard input; "": that tells by its beginning
	Forced bool      // Format is that of all files, whatever their names
	Stdin  io.Reader // what the path "-" reads; nil: the standard input of the process
	// Read is told how many bytes of a file were read, compressed where it is; may be nil. Its error ends reading.
	Read func(n int) error
}

// Source is an open file.
type Source struct {
	path    string
	name    string // in errors
	format  Format
	file    *os.File // nil: standard input
	data    *bufio.Reader
	read    func(n int) error
	limit   *limited
	closers []func()
}

// Open opens a file, or standard input. Errors name it.
func Open(path string, opt Options) (*Source, error) {
	s := &Source{path: path, name: path, format: FormatOf(path), read: opt.Read}
	if s.format == "" || path == Stdin || opt.Forced {
		s.format = opt.Format
	}
	if opt.Format != "" && !slices.Contains(Formats(), string(opt.Format)) {
		return nil, fmt.Errorf("format %q is not known, want one of %s", opt.Format, strings.Join(Formats(), ", "))
	}
	var in io.Reader = os.Stdin
	switch {
	case path != Stdin:
		f, err := infile.OpenStream(path)
		if err != nil {
			return nil, err
		}
		s.file, in = f, f
		s.closers = append(s.closers, func() { f.Close() })
	case opt.Stdin != nil:
		in = opt.Stdin
	}
	if path == Stdin {
		s.name = "standard input"
	}
	if err := s.open(in); err != nil {
		s.Close()
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return s, nil
}

// open decompresses the file and finds its format.
func (s *Source) open(in io.Reader) error {
	if s.read != nil {
		in = &counted{in, s.read}
	}
	count := &counter{from: in}
	raw := bufio.NewReaderSize(count, 1<<18)
	compressed := strings.ToLower(filepath.Ext(s.path))
	if s.path == Stdin {
		switch start, _ := raw.Peek(4); {
		case bytes.HasPrefix(start, []byte{0x1f, 0x8b}):
			compressed = ".gz"
		case bytes.Equal(start, []byte{0x28, 0xb5, 0x2f, 0xfd}):
			compressed = ".zst"
		}
	}
	var from io.Reader = raw
	switch compressed {
	case ".gz":
		z, err := gzip.NewReader(raw)
		if err != nil {
			return fmt.Errorf("not a gzip file: %w", err)
		}
		s.closers, from = append(s.closers, func() { z.Close() }), &expanding{from: z, in: &count.n}
	case ".zst":
		z, err := zstd.NewReader(raw, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true))
		if err != nil {
			return fmt.Errorf("not a zstd file: %w", err)
		}
		s.closers, from = append(s.closers, z.Close), &expanding{from: z, in: &count.n}
	}
	if from != io.Reader(raw) {
		s.file = nil // its bytes are not the records'
	}
	s.limit = &limited{from: from, most: maxRecord}
	s.data = bufio.NewReaderSize(s.limit, 1<<18)
	return s.findFormat()
}

// findFormat finds the format where the name does not tell, and JSON that is an array.
func (s *Source) findFormat() error {
	start, err := s.data.Peek(64)
	if err != nil && err != io.EOF && len(start) == 0 {
		return err
	}
	start = bytes.TrimLeft(bytes.TrimPrefix(start, []byte("\ufeff")), " \t\r\n")
	switch s.format {
	case "":
		switch {
		case s.path != Stdin:
			return fmt.Errorf("unknown kind of data; want one of .%s, plain or compressed (.gz, .zst), or --file-format",
				strings.Join(Formats(), ", ."))
		case bytes.HasPrefix(start, []byte("PAR1")):
			s.format = Parquet
		case bytes.HasPrefix(start, []byte("{")), bytes.HasPrefix(start, []byte("[")):
			s.format = JSONL
		default:
			s.format = Text
		}
	}
	if s.format == JSONL || s.format == JSON {
		s.format = JSONL
		if bytes.HasPrefix(start, []byte("[")) {
			s.format = JSON
		}
	}
	return nil
}

// Name is the file's name in messages.
func (s *Source) Name() string { return s.name }

// Format is the format that was found. JSON is an array; one object a line is JSONL, whatever the name is.
func (s *Source) Format() Format { return s.format }

// Rest is what has not been read yet, decompressed. It is for opening the same again, in the format that was found.
func (s *Source) Rest() io.Reader { return s.data }

// Close closes the file.
func (s *Source) Close() {
	for _, f := range slices.Backward(s.closers) {
		f()
	}
	s.closers = nil
}

// errText is the error of reading records from a text.
var errText = errors.New("a text, want records with fields (.jsonl, .json, .csv, .tsv or .parquet)")

// Records are the records of the file, once. An error ends them; it names the file and the place in it.
func (s *Source) Records() iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		var err error
		stopped := false
		each := func(r *Record) error {
			if !yield(r, nil) {
				stopped = true
				return io.EOF
			}
			return nil
		}
		switch s.format {
		case Text:
			err = fmt.Errorf("%s: %w", s.name, errText)
		case JSONL:
			err = s.lines(each)
		case JSON:
			err = s.array(each)
		case CSV:
			err = s.table(',', each)
		case TSV:
			err = s.table('\t', each)
		case Parquet:
			err = s.rows(each)
		}
		if err != nil && !stopped {
			yield(nil, err)
		}
	}
}

// All are the records of a file: Open, Records and Close.
func All(path string, opt Options) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		s, err := Open(path, opt)
		if err != nil {
			yield(nil, err)
			return
		}
		defer s.Close()
		s.Records()(yield)
	}
}

// counted tells how many bytes are read.
type counted struct {
	from io.Reader
	read func(n int) error
}

// Read implements io.Reader.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	if stop := c.read(n); stop != nil {
		return 0, stop
	}
	return n, err
}

// limited ends with an error where a single record takes more bytes than one may.
type limited struct {
	from io.Reader
	most int
	used int // since the last record
}

// Read implements io.Reader.
func (l *limited) Read(p []byte) (int, error) {
	if l.most > 0 && l.used > l.most {
		return 0, fmt.Errorf("the record is longer than %d bytes", l.most)
	}
	n, err := l.from.Read(p)
	l.used += n
	return n, err
}
