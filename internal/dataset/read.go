package dataset

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	maxLine   = 256 << 20 // bytes of one record
	maxWindow = 1 << 30   // bytes that decompression may need
)

// format is the kind of a data file by its name: "txt", "jsonl" or "".
func format(path string) string {
	name := strings.ToLower(filepath.Base(path))
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".zst")
	switch filepath.Ext(name) {
	case ".txt", ".text", ".md":
		return "txt"
	case ".jsonl", ".ndjson", ".json":
		return "jsonl"
	}
	return ""
}

// open opens a file and decompresses it.
func open(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := decompress(f, path)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// stream is a decompressor over its file.
type stream struct {
	io.Reader
	file  *os.File
	close func()
}

func (s *stream) Close() error {
	s.close()
	return s.file.Close()
}

func decompress(f *os.File, path string) (io.ReadCloser, error) {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".gz":
		z, err := gzip.NewReader(f)
		if err != nil {
			return nil, fmt.Errorf("not a gzip file: %w", err)
		}
		return &stream{z, f, func() { z.Close() }}, nil
	case ".zst":
		z, err := zstd.NewReader(f, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("not a zstd file: %w", err)
		}
		return &stream{z, f, z.Close}, nil
	}
	return f, nil
}

// readText reads a whole text.
func readText(path string) (string, error) {
	r, err := open(path)
	if err != nil {
		return "", err
	}
	defer r.Close()
	var b strings.Builder
	if info, err := os.Stat(path); err == nil {
		b.Grow(int(info.Size()))
	}
	if _, err := io.Copy(&b, r); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	text := strings.TrimPrefix(b.String(), "\ufeff")
	if text == "" {
		return "", fmt.Errorf("%s: the file is empty", path)
	}
	if err := checkUTF8(text); err != nil {
		return "", fmt.Errorf("%s:%w", path, err)
	}
	return text, nil
}

// checkUTF8 is an error that begins with the line of the first byte that is not UTF-8.
func checkUTF8(text string) error {
	if utf8.ValidString(text) {
		return nil
	}
	if strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") {
		return errors.New("1: the text is UTF-16, want UTF-8")
	}
	at := 0
	for {
		r, n := utf8.DecodeRuneInString(text[at:])
		if r == utf8.RuneError && n == 1 {
			break
		}
		at += n
	}
	line := 1 + strings.Count(text[:at], "\n")
	column := at - strings.LastIndexByte(text[:at], '\n')
	return fmt.Errorf("%d: byte %d of the line (%#02x) is not UTF-8", line, column, text[at])
}

// lines calls f for each line of a file that is not blank, numbered from 1, without its end. f must not keep it.
func lines(path string, f func(number int, line []byte) error) error {
	file, err := open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	r := bufio.NewReaderSize(file, 1<<18)
	var line []byte
	for number := 1; ; number++ {
		line, err = readLine(r, line[:0])
		if err != nil && err != io.EOF {
			return fmt.Errorf("%s:%d: %w", path, number, err)
		}
		if number == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		if text := bytes.TrimSpace(line); len(text) > 0 {
			if err := f(number, text); err != nil {
				return fmt.Errorf("%s:%d: %w", path, number, err)
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

// readLine appends the next line to line.
func readLine(r *bufio.Reader, line []byte) ([]byte, error) {
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine {
			return line, fmt.Errorf("the line is longer than %d bytes", maxLine)
		}
		if err != bufio.ErrBufferFull {
			return line, err
		}
	}
}
