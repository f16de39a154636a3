package logprobs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/infile"
)

// A file is, all numbers little-endian:
//
//	8 bytes               magic
//	uint32                tokens of a window, T
//	int32, int32          tokens of the vocabulary, V; windows, N
//	N·T int32             the tokens of the windows
//	N·Scored(T) rows      Scale and Min as float32, V codes as uint16, and one more where V is odd
const magic = "_logits_"

// Header is what a file begins with.
type Header struct {
	Ctx   int     // tokens of a window
	Vocab int     // tokens of the vocabulary
	IDs   []int32 // the tokens of all windows; the first of each may be replaced by BOS
}

// Windows is their number.
func (h *Header) Windows() int { return len(h.IDs) / h.Ctx }

// Scored is how many tokens of a window are scored: those of its second half but the first.
func Scored(ctx int) int { return ctx - 1 - ctx/2 }

// rowBytes is the size of a row in a file.
func rowBytes(vocab int) int { return 8 + 4*((vocab+1)/2) }

// Is says whether a file begins as one of log probabilities does. A file that cannot be read does not.
func Is(path string) bool {
	f, err := infile.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var start [len(magic)]byte
	_, err = io.ReadFull(f, start[:])
	return err == nil && string(start[:]) == magic
}

// Reader reads a file, row after row.
type Reader struct {
	Header
	path string
	f    *os.File
	in   *bufio.Reader
	row  []byte
	next int
}

// Open reads the header of a file. A file whose size is not that of what it says to have is an error.
func Open(path string) (_ *Reader, err error) {
	f, err := infile.Open(path)
	if err != nil {
		return nil, err
	}
	r := &Reader{path: path, f: f, in: bufio.NewReaderSize(f, 1<<20)}
	if err := r.readHeader(); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

func (r *Reader) readHeader() error {
	info, err := r.f.Stat()
	if err != nil {
		return err
	}
	start := make([]byte, len(magic)+12)
	if _, err := io.ReadFull(r.in, start); err != nil {
		return fmt.Errorf("%d bytes, expected log probabilities as llama-perplexity writes them", info.Size())
	}
	if !bytes.HasPrefix(start, []byte(magic)) {
		return fmt.Errorf("begins with %q, expected %q: log probabilities as llama-perplexity writes them",
			start[:len(magic)], magic)
	}
	number := func(i int) int { return int(int32(binary.LittleEndian.Uint32(start[len(magic)+4*i:]))) }
	ctx, vocab, windows := number(0), number(1), number(2)
	if ctx < 4 || vocab < 1 || windows < 1 {
		return fmt.Errorf("%d windows of %d tokens of a vocabulary of %d, expected 1 window or more of 4 tokens or more",
			windows, ctx, vocab)
	}
	window := int64(ctx)*4 + int64(Scored(ctx))*int64(rowBytes(vocab)) // both numbers are below 2³¹: no overflow
	if rest := info.Size() - int64(len(start)); rest%int64(windows) != 0 || rest/int64(windows) != window {
		return fmt.Errorf("%d bytes, expected %d and %d for each of %d windows of %d tokens of a vocabulary of %d",
			info.Size(), len(start), window, windows, ctx, vocab)
	}
	r.Ctx, r.Vocab, r.IDs = ctx, vocab, make([]int32, windows*ctx)
	if err := binary.Read(r.in, binary.LittleEndian, r.IDs); err != nil {
		return err
	}
	for i, id := range r.IDs {
		if id < 0 || int(id) >= vocab {
			return fmt.Errorf("token %d is %d, beyond the vocabulary of %d", i+1, id, vocab)
		}
	}
	r.row = make([]byte, rowBytes(vocab))
	return nil
}

// Next reads the next row. After the last one it is io.EOF.
func (r *Reader) Next(row *Row) error {
	if r.next == r.Windows()*Scored(r.Ctx) {
		return io.EOF
	}
	if _, err := io.ReadFull(r.in, r.row); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("became shorter while it was read")
		}
		return fmt.Errorf("%s: row %d: %w", r.path, r.next+1, err)
	}
	r.next++
	row.Scale = math.Float32frombits(binary.LittleEndian.Uint32(r.row))
	row.Min = math.Float32frombits(binary.LittleEndian.Uint32(r.row[4:]))
	if highest := row.Scale*65535 + row.Min; !(row.Scale >= 0 && row.Min <= 0 && highest < 1) {
		return fmt.Errorf("%s: row %d: log probabilities from %v to %v, expected numbers up to 0", r.path, r.next, row.Min,
			highest)
	}
	if cap(row.Codes) < r.Vocab {
		row.Codes = make([]uint16, r.Vocab)
	}
	row.Codes = row.Codes[:r.Vocab]
	for i := range row.Codes {
		row.Codes[i] = binary.LittleEndian.Uint16(r.row[8+2*i:])
	}
	return nil
}

// Close closes the file.
func (r *Reader) Close() error { return r.f.Close() }

// Writer writes a file, row after row.
type Writer struct {
	file *atomicfile.File
	out  *bufio.Writer
	row  []byte
}

// Create begins a file.
func Create(path string, h *Header) (*Writer, error) {
	file, err := atomicfile.Create(path)
	if err != nil {
		return nil, err
	}
	w := &Writer{file: file, out: bufio.NewWriterSize(file, 1<<20), row: make([]byte, rowBytes(h.Vocab))}
	start := []byte(magic)
	for _, n := range []int{h.Ctx, h.Vocab, h.Windows()} {
		start = binary.LittleEndian.AppendUint32(start, uint32(n))
	}
	for _, id := range h.IDs[:h.Windows()*h.Ctx] {
		start = binary.LittleEndian.AppendUint32(start, uint32(id))
	}
	if _, err := w.out.Write(start); err != nil {
		w.Abort()
		return nil, err
	}
	return w, nil
}

// Write writes a row.
func (w *Writer) Write(r *Row) error {
	binary.LittleEndian.PutUint32(w.row, math.Float32bits(r.Scale))
	binary.LittleEndian.PutUint32(w.row[4:], math.Float32bits(r.Min))
	for i, code := range r.Codes {
		binary.LittleEndian.PutUint16(w.row[8+2*i:], code)
	}
	_, err := w.out.Write(w.row)
	return err
}

// Commit gives the file its name.
func (w *Writer) Commit() error {
	if err := w.out.Flush(); err != nil {
		w.Abort()
		return err
	}
	return w.file.Commit()
}

// Abort gives the file up.
func (w *Writer) Abort() { w.file.Abort() }
