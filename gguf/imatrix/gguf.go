package imatrix

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/infile"
)

// Keys and names of the GGUF form.
const (
	keyDatasets  = "imatrix.datasets"
	keyChunks    = "imatrix.chunk_count"
	keyChunkSize = "imatrix.chunk_size"

	sumsSuffix   = ".in_sum2" // of a tensor of sums: columns × matrices
	countsSuffix = ".counts"  // of a tensor of counts: 1 × matrices
)

// Open reads an importance matrix in either form.
func Open(path string) (*Matrix, error) {
	m, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("imatrix: %s: %w", path, err)
	}
	m.Path = path
	return m, nil
}

func open(path string) (*Matrix, error) {
	data, err := infile.Read(path, infile.Table)
	if err != nil {
		return nil, err
	}
	return Parse(data)
}

// Parse reads an importance matrix in either form from memory.
func Parse(data []byte) (*Matrix, error) {
	if bytes.HasPrefix(data, []byte("GGUF")) {
		return parseGGUF(data)
	}
	return parseDat(data)
}

func parseGGUF(data []byte) (*Matrix, error) {
	f, err := gguf.Parse(data)
	if err != nil {
		return nil, err
	}
	m := &Matrix{}
	if err := m.readMetadata(f.Meta); err != nil {
		return nil, err
	}
	for _, t := range f.Tensors {
		name, ok := strings.CutSuffix(t.Name, sumsSuffix)
		if !ok {
			if name, ok = strings.CutSuffix(t.Name, countsSuffix); ok && f.Tensor(name+sumsSuffix) == nil {
				return nil, fmt.Errorf("there are counts but no sums of %q", name)
			}
			continue
		}
		e, err := readEntry(f, name)
		if err != nil {
			return nil, err
		}
		if err := m.insert(e); err != nil {
			return nil, err
		}
	}
	if len(m.entries) == 0 {
		return nil, fmt.Errorf("holds no tensor that ends in %s, so it is no importance matrix", sumsSuffix)
	}
	return m, nil
}

func (m *Matrix) readMetadata(meta *gguf.Metadata) error {
	datasets, ok := meta.Strings(keyDatasets)
	if !ok {
		return missing(meta, keyDatasets, "a list of names")
	}
	m.Datasets = datasets
	if err := readCount(meta, keyChunks, &m.Chunks); err != nil {
		return err
	}
	return readCount(meta, keyChunkSize, &m.ChunkSize)
}

func readCount(meta *gguf.Metadata, key string, to *int) error {
	n, ok := meta.Uint(key)
	if !ok || n > math.MaxInt32 {
		return missing(meta, key, "a count")
	}
	*to = int(n)
	return nil
}

func missing(meta *gguf.Metadata, key, expected string) error {
	if v, ok := meta.Get(key); ok {
		return fmt.Errorf("key %q is %v, expected %s", key, v, expected)
	}
	return fmt.Errorf("key %q is missing, so it is no importance matrix", key)
}

// readEntry reads the two tensors of an entry.
func readEntry(f *gguf.File, name string) (*Entry, error) {
	counts := f.Tensor(name + countsSuffix)
	if counts == nil {
		return nil, fmt.Errorf("there are sums but no counts of %q", name)
	}
	sums, err := floats(f.Tensor(name + sumsSuffix))
	if err != nil {
		return nil, err
	}
	n, err := floats(counts)
	if err != nil {
		return nil, err
	}
	e := &Entry{Name: name, Sums: sums}
	for _, c := range n {
		c := float64(c)
		if !(c >= 0 && c < 1<<53) {
			return nil, fmt.Errorf("entry %q: a count is %v, expected a number of tokens", name, c)
		}
		e.Counts = append(e.Counts, int64(math.Round(c)))
	}
	return e, e.check()
}

// floats are the elements of an F32 tensor.
func floats(t *gguf.Tensor) ([]float32, error) {
	if t.Type != gguf.F32 {
		return nil, fmt.Errorf("tensor %q is %v, expected F32", t.Name, t.Type)
	}
	return t.Float32s()
}

// WriteFile writes the GGUF form to a file.
func (m *Matrix) WriteFile(path string) error {
	return atomicfile.Write(path, m.Write)
}

// Write writes the GGUF form: what llama-imatrix writes of the same figures, byte for byte. Entries that were read from
// the older form are given over tokens.
func (m *Matrix) Write(w io.Writer) error {
	meta := &gguf.Metadata{}
	for _, v := range []struct {
		key   string
		value any
	}{
		{"general.type", "imatrix"}, {keyDatasets, append([]string{}, m.Datasets...)},
		{keyChunks, uint32(m.Chunks)}, {keyChunkSize, uint32(m.ChunkSize)},
	} {
		if err := meta.Set(v.key, v.value); err != nil {
			return err
		}
	}
	entries := make([]*Entry, len(m.entries))
	for i, e := range m.entries {
		entries[i] = e.inTokens(max(m.ChunkSize, 1))
	}
	return writeEntries(w, meta, entries)
}

func writeEntries(w io.Writer, meta *gguf.Metadata, entries []*Entry) error {
	var table []gguf.Tensor
	for _, e := range entries {
		n := int64(len(e.Counts))
		table = append(table,
			gguf.Tensor{Name: e.Name + sumsSuffix, Shape: shape(int64(len(e.Sums))/n, n), Type: gguf.F32},
			gguf.Tensor{Name: e.Name + countsSuffix, Shape: shape(1, n), Type: gguf.F32})
	}
	buffered := bufio.NewWriter(w)
	out, err := gguf.NewWriter(buffered, meta, table)
	if err != nil {
		return err
	}
	for _, e := range entries {
		counts := make([]float32, len(e.Counts))
		for i, c := range e.Counts {
			counts[i] = float32(c)
		}
		if err := out.WriteTensor(e.Name+sumsSuffix, littleEndian(e.Sums)); err != nil {
			return err
		}
		if err := out.WriteTensor(e.Name+countsSuffix, littleEndian(counts)); err != nil {
			return err
		}
	}
	if err := out.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}

// shape is that of n rows, of which ggml does not write the number where it is 1.
func shape(cols, n int64) []int64 {
	if n == 1 {
		return []int64{cols}
	}
	return []int64{cols, n}
}

func littleEndian(x []float32) []byte {
	out := make([]byte, 0, 4*len(x))
	for _, v := range x {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	return out
}
