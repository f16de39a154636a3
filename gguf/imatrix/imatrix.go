package imatrix

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Matrix is what was measured of one model.
type Matrix struct {
	Path      string   // the file it was read from; "" when it was not
	Datasets  []string // the texts it was measured on, as they were named
	Chunks    int      // windows of text that went through the model
	ChunkSize int      // tokens of a window; 0 where the file does not say

	entries []*Entry // in the order of their names
}

// Entry is what was measured of one tensor: of one matrix, or of several, the experts, that are stacked in it.
type Entry struct {
	Name   string    // the tensor's
	Sums   []float32 // of the squares of the input, matrix after matrix of one value a column
	Counts []int64   // of tokens that went through each of the matrices

	windows bool // of the older form: sums are means times the one count, which counts windows
}

// Entries are all entries in the order of their names, which must not be changed.
func (m *Matrix) Entries() []*Entry { return m.entries }

// Entry finds what was measured of a tensor; nil when that is nothing.
func (m *Matrix) Entry(tensor string) *Entry {
	i, ok := m.find(tensor)
	if !ok {
		return nil
	}
	return m.entries[i]
}

func (m *Matrix) find(tensor string) (int, bool) {
	return slices.BinarySearchFunc(m.entries, tensor, func(e *Entry, name string) int {
		return strings.Compare(e.Name, name)
	})
}

// Add checks an entry and puts it in its place. Its name must be new. The entry belongs to the matrix then.
func (m *Matrix) Add(e *Entry) error {
	if err := e.check(); err != nil {
		return err
	}
	return m.insert(e)
}

// insert puts an entry in its place. Its name must be new.
func (m *Matrix) insert(e *Entry) error {
	i, ok := m.find(e.Name)
	if ok {
		return fmt.Errorf("two entries are named %q", e.Name)
	}
	m.entries = slices.Insert(m.entries, i, e)
	return nil
}

// check says what is wrong with an entry.
func (e *Entry) check() error {
	switch {
	case len(e.Sums) == 0 || len(e.Counts) == 0:
		return fmt.Errorf("entry %q holds %d sums and %d counts, expected one of each at least", e.Name, len(e.Sums),
			len(e.Counts))
	case len(e.Sums)%len(e.Counts) != 0:
		return fmt.Errorf("entry %q holds %d sums, no multiple of its %d counts", e.Name, len(e.Sums), len(e.Counts))
	}
	for i, s := range e.Sums {
		if f := float64(s); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("entry %q: sum %d is %v, expected a finite number", e.Name, i, s)
		}
	}
	return nil
}

// Importance is the mean of the squares of each input, matrix after matrix, by which errors are weighed. A matrix that
// no token went through gets ones.
func (e *Entry) Importance() []float32 {
	out := make([]float32, len(e.Sums))
	cols := len(e.Sums) / len(e.Counts)
	for i, s := range e.Sums {
		switch n := e.Counts[i/cols]; {
		case n > 0:
			out[i] = s / float32(n)
		case e.windows:
			out[i] = s
		default:
			out[i] = 1
		}
	}
	return out
}

// Unvisited is the number of matrices that no token went through, as experts may be on little text.
func (e *Entry) Unvisited() int {
	n := 0
	for _, count := range e.Counts {
		if count == 0 {
			n++
		}
	}
	return n
}

// Merge adds what another matrix of the same model measured.
func (m *Matrix) Merge(other *Matrix) error {
	for _, e := range other.entries {
		if err := m.mergeEntry(e.inTokens(other.chunkSize(m))); err != nil {
			return err
		}
	}
	m.Datasets = append(m.Datasets, other.Datasets...)
	m.count()
	return nil
}

// chunkSize is the size of a window, which the older form leaves open, as that of another matrix then.
func (m *Matrix) chunkSize(other *Matrix) int {
	if m.ChunkSize > 0 {
		return m.ChunkSize
	}
	return other.ChunkSize
}

// inTokens is the entry with sums and counts over tokens.
func (e *Entry) inTokens(chunkSize int) *Entry {
	out := &Entry{Name: e.Name, Sums: slices.Clone(e.Sums), Counts: slices.Clone(e.Counts)}
	if !e.windows {
		return out
	}
	for i := range out.Sums {
		out.Sums[i] *= float32(chunkSize)
	}
	out.Counts[0] *= int64(chunkSize)
	return out
}

func (m *Matrix) mergeEntry(e *Entry) error {
	to := m.Entry(e.Name)
	if to == nil {
		return m.insert(e)
	}
	if len(to.Counts) == 1 && len(e.Counts) > 1 { // the older form counts all experts together
		to.Counts = slices.Repeat(to.Counts, len(e.Counts))
	}
	if len(to.Sums) != len(e.Sums) || len(to.Counts)%len(e.Counts) != 0 {
		return fmt.Errorf("entry %q holds %d sums of %d matrices in one importance matrix, %d of %d in another: they are "+
			"not of one model", e.Name, len(to.Sums), len(to.Counts), len(e.Sums), len(e.Counts))
	}
	for i, s := range e.Sums {
		to.Sums[i] += s
	}
	for i := range to.Counts {
		to.Counts[i] += e.Counts[i%len(e.Counts)]
	}
	return nil
}

// count makes Chunks what the counts say.
func (m *Matrix) count() {
	tokens := int64(0)
	for _, e := range m.entries {
		tokens = max(tokens, slices.Max(e.Counts))
	}
	if m.ChunkSize > 0 {
		m.Chunks = int(tokens / int64(m.ChunkSize))
	}
}
