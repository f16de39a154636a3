package dataset

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/infile"
)

// Cache says where examples go that are more than fit into memory easily: into a file of their token ids, that Close of
// the set gives up. The zero value keeps all of them in memory.
type Cache struct {
	Prefix string // beginning of the file's name, a folder or the output that the file stands beside
	Limit  int    // bytes of token ids that stay in memory; 0: 64 MiB
	// Keep leaves the file as Prefix.<hash>.tokens, where the hash is that of the data, of the vocabulary and of all
	// options that the examples depend on. A later run with the same reads it and tokenizes nothing.
	Keep       bool
	Vocabulary string // a hash of the vocabulary and its rules, which Keep needs
}

// cacheLimit is the default of Cache.Limit.
const cacheLimit = 64 << 20

// A file of examples is their tokens, an index, what is known of all of them as JSON, and the end:
//
//	of each example   ids as uint32, then a bit for each of them, where the example has a loss mask
//	of each example   where it begins as uint64; the number of tokens, the class with the mask's flag and the number of
//	                  its record as uint32
//	JSON              cacheHeader
//	32 bytes          the lengths of index and JSON, and CRC-32C of all before, as uint64; and cacheMagic
//
// All numbers are little-endian.
const cacheMagic = "PCTOKEN2"

// cacheHeader is what is known of all examples.
type cacheHeader struct {
	Key     string      `json:"key"` // hash of everything that the examples depend on
	Counts  Counts      `json:"counts"`
	Classes int         `json:"classes,omitempty"`
	Answers [][]int32   `json:"answers,omitempty"`
	Sets    []cachedSet `json:"sets"`
}

// cachedSet is one of the sets in a file.
type cachedSet struct {
	Examples int          `json:"examples"`
	Tokens   int          `json:"tokens"`
	Targets  int          `json:"targets"`
	Parts    []cachedPart `json:"parts,omitempty"`
	Files    []int        `json:"files,omitempty"` // where the examples of each file end
}

type cachedPart struct {
	End    int     `json:"end"`
	Weight float64 `json:"weight"`
}

// entry is where an example stands in a file.
type entry struct {
	at     int64
	tokens uint32
	kind   uint32 // twice the class, and 1 where there is a loss mask
	record uint32
}

const entrySize = 20

// held is the examples of a set in a file.
type held struct {
	file            *cacheFile
	index           []entry
	tokens, targets int
	buffer          []byte
}

// cacheFile is a file that several sets may stand in.
type cacheFile struct {
	mu    sync.Mutex
	f     tokenFile
	kept  string // its path where it is kept
	users int
}

// tokenFile is an open file that is kept, or one that is gone when it is closed.
type tokenFile interface {
	io.ReaderAt
	io.Closer
}

// close gives the file up when the last set does.
func (c *cacheFile) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.users--; c.users != 0 {
		return nil
	}
	return c.f.Close()
}

// read reads an example into the memory of another.
func (h *held) read(i int, e *Example) error {
	at := h.index[i]
	n := int(at.tokens)
	size := n * 4
	masked := at.kind&1 != 0
	if masked {
		size += (n + 7) / 8
	}
	if cap(h.buffer) < size {
		h.buffer = make([]byte, size+size/4)
	}
	buffer := h.buffer[:size]
	if _, err := h.file.f.ReadAt(buffer, at.at); err != nil {
		return fmt.Errorf("read token ids back: %w", err)
	}
	if cap(e.IDs) < n {
		e.IDs = make([]int32, n+n/4)
	}
	e.IDs, e.Class, e.Record = e.IDs[:n], int(at.kind>>1), int(at.record)
	for j := range e.IDs {
		e.IDs[j] = int32(binary.LittleEndian.Uint32(buffer[4*j:]))
	}
	if !masked {
		e.Loss = nil
		return nil
	}
	if cap(e.Loss) < n {
		e.Loss = make([]bool, n+n/4)
	}
	e.Loss = e.Loss[:n]
	for j := range e.Loss {
		e.Loss[j] = buffer[4*n+j/8]>>(j%8)&1 != 0
	}
	return nil
}

// cacheWriter writes examples into a file.
type cacheWriter struct {
	out    io.Writer
	temp   *atomicfile.ScratchFile // that has no name, or
	keep   *atomicfile.File        // that gets one
	path   string                  // of keep
	buffer *bufio.Writer
	at     int64
	crc    uint32
	bytes  []byte
}

// crcTable is that of CRC-32C.
var crcTable = crc32.MakeTable(crc32.Castagnoli)

// createCache begins a file. Without a path to keep it at, it has no name where the system can do that.
func createCache(c *Cache, path string) (*cacheWriter, error) {
	w := &cacheWriter{path: path}
	var err error
	if path != "" {
		if w.keep, err = atomicfile.Create(path); err != nil {
			return nil, err
		}
		w.out = w.keep
	} else {
		dir := c.Prefix
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			dir = filepath.Dir(dir)
		}
		if w.temp, err = atomicfile.Scratch(dir, "tokens"); err != nil {
			return nil, fmt.Errorf("a file for token ids: %w", err)
		}
		w.out = w.temp
	}
	w.buffer = bufio.NewWriterSize(w.out, 1<<18)
	return w, nil
}

// add writes an example.
func (w *cacheWriter) add(e *Example) (entry, error) {
	b := w.bytes[:0]
	for _, id := range e.IDs {
		b = binary.LittleEndian.AppendUint32(b, uint32(id))
	}
	kind := uint32(e.Class) << 1
	if e.Loss != nil {
		kind |= 1
		mask := len(b)
		b = append(b, make([]byte, (len(e.IDs)+7)/8)...)
		for i, learned := range e.Loss {
			if learned {
				b[mask+i/8] |= 1 << (i % 8)
			}
		}
	}
	at := entry{w.at, uint32(len(e.IDs)), kind, uint32(e.Record)}
	w.bytes, w.crc = b, crc32.Update(w.crc, crcTable, b)
	n, err := w.buffer.Write(b)
	w.at += int64(n)
	return at, err
}

// abort gives the file up.
func (w *cacheWriter) abort() {
	if w.keep != nil {
		w.keep.Abort()
	}
	if w.temp != nil {
		w.temp.Close()
	}
}

// finish ends the file and opens it for some sets. The header is written where the file is kept.
func (w *cacheWriter) finish(h cacheHeader, sets []*held) (*cacheFile, error) {
	if w.keep != nil {
		if err := w.end(&h, sets); err != nil {
			w.abort()
			return nil, err
		}
	}
	if err := w.buffer.Flush(); err != nil {
		w.abort()
		return nil, fmt.Errorf("a file for token ids: %w", err)
	}
	if w.keep == nil {
		return &cacheFile{f: w.temp}, nil
	}
	if err := w.keep.Commit(); err != nil {
		return nil, err
	}
	f, err := infile.Open(w.path)
	return &cacheFile{f: f, kept: w.path}, err
}

// end writes what follows the tokens.
func (w *cacheWriter) end(h *cacheHeader, sets []*held) error {
	var tail []byte
	for _, s := range sets {
		for _, e := range s.index {
			tail = binary.LittleEndian.AppendUint64(tail, uint64(e.at))
			tail = binary.LittleEndian.AppendUint32(tail, e.tokens)
			tail = binary.LittleEndian.AppendUint32(tail, e.kind)
			tail = binary.LittleEndian.AppendUint32(tail, e.record)
		}
	}
	index := len(tail)
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	tail = append(tail, text...)
	crc := crc32.Update(w.crc, crcTable, tail)
	for _, n := range []uint64{uint64(index), uint64(len(text)), uint64(crc)} {
		tail = binary.LittleEndian.AppendUint64(tail, n)
	}
	_, err = w.buffer.Write(append(tail, cacheMagic...))
	return err
}

// errStale is of a file that is no cache of the data.
var errStale = errors.New("not a cache of these examples")

// openCache opens a file that was kept, and checks all of it.
func openCache(path, key string) (*cacheHeader, *cacheFile, []entry, error) {
	f, err := infile.Open(path)
	if err != nil {
		return nil, nil, nil, err
	}
	h, index, err := readCache(f, key)
	if err != nil {
		f.Close()
		return nil, nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return h, &cacheFile{f: f, kept: path}, index, nil
}

// readCache reads the end of a file and checks the rest.
func readCache(f *os.File, key string) (*cacheHeader, []entry, error) {
	const endSize = 32
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	size := info.Size()
	end := make([]byte, endSize)
	if size < endSize {
		return nil, nil, errStale
	}
	if _, err := f.ReadAt(end, size-endSize); err != nil {
		return nil, nil, err
	}
	indexSize, textSize := binary.LittleEndian.Uint64(end), binary.LittleEndian.Uint64(end[8:])
	rest := uint64(size - endSize)
	if !bytes.Equal(end[24:], []byte(cacheMagic)) || indexSize > rest || textSize > rest-indexSize ||
		indexSize%entrySize != 0 {
		return nil, nil, errStale
	}
	crc := crc32.New(crcTable)
	if _, err := io.Copy(crc, io.NewSectionReader(f, 0, int64(rest))); err != nil {
		return nil, nil, err
	}
	if uint64(crc.Sum32()) != binary.LittleEndian.Uint64(end[16:]) {
		return nil, nil, errStale
	}
	data := int64(rest - indexSize - textSize)
	tail := make([]byte, indexSize+textSize)
	if _, err := f.ReadAt(tail, data); err != nil {
		return nil, nil, err
	}
	h := &cacheHeader{}
	if err := json.Unmarshal(tail[indexSize:], h); err != nil || h.Key != key {
		return nil, nil, errStale
	}
	index, total := make([]entry, indexSize/entrySize), 0
	for _, s := range h.Sets {
		if s.Examples < 0 || s.Examples > len(index) {
			return nil, nil, errStale
		}
		total += s.Examples
	}
	for i := range index {
		b := tail[i*entrySize:]
		e := entry{int64(binary.LittleEndian.Uint64(b)), binary.LittleEndian.Uint32(b[8:]),
			binary.LittleEndian.Uint32(b[12:]), binary.LittleEndian.Uint32(b[16:])}
		if e.at < 0 || e.at > data-int64(e.tokens)*4 {
			return nil, nil, errStale
		}
		index[i] = e
	}
	if total != len(index) {
		return nil, nil, errStale
	}
	return h, index, nil
}
