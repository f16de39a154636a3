package train

import (
	"path/filepath"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/memory"
)

// exampleStore keeps rows of bytes for the examples of the training data: in memory where they take no more than a
// quarter of what is available, and otherwise in a file beside the adapter that has no name where the system can do
// that, and is removed at the end.
type exampleStore struct {
	size   int   // bytes of a row
	starts []int // where the rows of each example begin; and their number
	known  []bool
	memory []byte // nil: they are in file
	file   *atomicfile.ScratchFile
}

// leastStored is how many tokens a batch must have at least for its rows to be kept: products of few rows add up in
// another order, so that a small batch can differ in the last bits from a large one. It is a variable for tests.
var leastStored = 64

// newExampleStore makes an empty store of rows of some bytes, as many for each example as rows says, in memory or
// beside the file out, named by its kind. It is nil where there is no room for one.
func newExampleStore(size, examples int, rows func(i int) int, out, kind string) *exampleStore {
	s := &exampleStore{size: size, known: make([]bool, examples), starts: []int{0}}
	for i := range examples {
		s.starts = append(s.starts, s.starts[i]+rows(i))
	}
	if bytes := int64(size) * int64(s.starts[examples]); inMemory(bytes) {
		s.memory = make([]byte, bytes)
		return s
	}
	if out == "" {
		return nil
	}
	f, err := atomicfile.Scratch(filepath.Dir(out), filepath.Base(out)+"."+kind)
	if err != nil {
		return nil
	}
	s.file = f
	return s
}

// inMemory says whether a store of some bytes is kept in memory. It is a variable for tests.
var inMemory = func(bytes int64) bool {
	available, _ := memory.Available(0)
	return bytes <= available/4
}

// close gives memory and file back.
func (s *exampleStore) close() {
	if s == nil {
		return
	}
	if s.file != nil {
		s.file.Close()
	}
	s.memory, s.file = nil, nil
	clear(s.known)
}

// rows is the number of rows of example e.
func (s *exampleStore) rows(e int) int { return s.starts[e+1] - s.starts[e] }

// has says whether the rows of all of some examples are known.
func (s *exampleStore) has(examples []int) bool {
	for _, e := range examples {
		if !s.known[e] {
			return false
		}
	}
	return true
}

// read fetches the rows of example e.
func (s *exampleStore) read(e int, rows []byte) bool {
	at := int64(s.starts[e]) * int64(s.size)
	if s.file == nil {
		copy(rows, s.memory[at:])
		return true
	}
	_, err := s.file.ReadAt(rows, at)
	return err == nil
}

// write stores the rows of example e; a full disk leaves the example unknown.
func (s *exampleStore) write(e int, rows []byte) {
	if s.known[e] {
		return
	}
	at := int64(s.starts[e]) * int64(s.size)
	if s.file == nil {
		copy(s.memory[at:], rows)
		s.known[e] = true
		return
	}
	_, err := s.file.WriteAt(rows, at)
	s.known[e] = err == nil
}
