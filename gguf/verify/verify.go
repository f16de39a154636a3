package verify

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/peftconv/peftconv/gguf/edit"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/weights"
)

// Options configures what is checked.
type Options struct {
	Quick    bool   // the headers only: no data are read
	Hashes   bool   // fill in the tensors' hashes
	Against  string // a list of hashes as sha256sum prints it, or another model: see Report.Compared
	Progress func(done, size int64, tensor string)
}

// Report is the result.
type Report struct {
	File         string    `json:"file"`
	Format       string    `json:"format"` // "GGUF" or "safetensors"; "" where that is unknown
	Architecture string    `json:"architecture"`
	Files        []string  `json:"files"`
	Bytes        int64     `json:"bytes"`    // of tensors
	Numbers      int64     `json:"numbers"`  // that were checked
	Compared     int       `json:"compared"` // hashes that were compared with Options.Against
	Problems     []Finding `json:"problems"`
	Notes        []Finding `json:"notes"`
	Tensors      []Tensor  `json:"tensors"`
}

// Finding is a problem or a note.
type Finding struct {
	Tensor string `json:"tensor,omitempty"` // "" where it is about the whole file
	Text   string `json:"text"`
}

// String is the finding as a line.
func (f Finding) String() string {
	if f.Tensor == "" {
		return f.Text
	}
	return fmt.Sprintf("tensor %q: %s", f.Tensor, f.Text)
}

// Tensor is a tensor that was checked.
type Tensor struct {
	Name   string  `json:"name"`
	Type   string  `json:"type"`
	Shape  []int64 `json:"shape"` // in the order of the file
	Bytes  int64   `json:"bytes"`
	SHA256 *Hash   `json:"sha256,omitempty"` // of the bytes, where it was asked for
}

// Hash is a SHA-256. As text it is in hexadecimal.
type Hash [sha256.Size]byte

// String is the hash in hexadecimal.
func (h *Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler.
func (h *Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// OK says whether there is no problem.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

func (r *Report) problem(tensor, format string, args ...any) {
	r.Problems = append(r.Problems, Finding{tensor, fmt.Sprintf(format, args...)})
}

func (r *Report) note(tensor, format string, args ...any) {
	r.Notes = append(r.Notes, Finding{tensor, fmt.Sprintf(format, args...)})
}

// File looks at a model or adapter: a .gguf file, alone or one of several, a .safetensors file, an index of such files,
// or a directory that holds either. Whatever is wrong with its content is in the report; an error says that it could
// not be looked at.
func File(ctx context.Context, path string, opt Options) (_ *Report, err error) {
	defer mapped.Guard(&err)()
	r := &Report{File: path, Files: []string{path}, Problems: []Finding{}, Notes: []Finding{}, Tensors: []Tensor{}}
	sums, other, err := openAgainst(opt.Against)
	if err != nil {
		return nil, err
	}
	if other != nil {
		defer other.Close()
	}
	if err := readable(path); err != nil {
		return nil, err
	}
	f, err := weights.Open(path)
	if err != nil {
		r.problem("", "%v", err)
		return r, nil
	}
	defer f.Close()
	r.describe(f)
	r.plausible(f)
	if opt.Quick {
		return r, nil
	}
	c := &counter{size: f.Size(), progress: opt.Progress}
	if other != nil {
		c.size += other.Size()
	}
	found, err := readAll(ctx, f, opt.Hashes || other != nil || sums.namesTensor(f), c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r.take(f, found, opt.Hashes)
	if other != nil {
		err = r.compareModel(ctx, f, found, other, opt.Against, c)
	} else {
		err = r.compareSums(ctx, f, found, sums, opt.Against)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// readable is the error of a path that cannot be read at all.
func readable(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		_, err = os.ReadDir(path)
		return err
	}
	f, err := infile.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// describe fills in what the file is.
func (r *Report) describe(f *weights.File) {
	for _, file := range f.Files {
		if edit.Pending(file) {
			r.problem("", "an edit of %s was interrupted", file)
		}
	}
	r.Format, r.Files, r.Bytes = f.Format, f.Files, f.Size()
	r.Tensors = slices.Grow(r.Tensors, f.Len())
	for _, t := range f.Tensors() {
		r.Tensors = append(r.Tensors, Tensor{Name: t.Name, Type: t.Type, Shape: t.Shape, Bytes: t.Size()})
	}
}

// findings are the results of reading all tensors' data. A tensor of which there is nothing to say has none.
type findings struct {
	data   []*data
	hashes []Hash // nil where they were not asked for
}

// data is the result of reading a tensor's data.
type data struct {
	wild   int64   // the first element that is NaN or infinite, or -1
	value  float64 // of that element
	zero   int64   // bytes in pieces that are all zero
	zeroAt int64   // where the first of these begins
}

// counter counts the bytes that were read, on all threads.
type counter struct {
	done     atomic.Int64
	size     int64
	progress func(done, size int64, tensor string)
}

func (c *counter) add(n int, tensor string) {
	if done := c.done.Add(int64(n)); c.progress != nil {
		c.progress(done, c.size, tensor)
	}
}

// readAll reads all tensors, the largest first, so that all threads end at about the same time.
func readAll(ctx context.Context, f *weights.File, hashes bool, c *counter) (*findings, error) {
	order, sizes := make([]int32, f.Len()), make([]int64, f.Len())
	for i, t := range f.Tensors() {
		order[i], sizes[i] = int32(i), t.Size()
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(sizes[b], sizes[a]) })
	found := &findings{data: make([]*data, f.Len())}
	if hashes {
		found.hashes = make([]Hash, f.Len())
	}
	err := weights.Each(ctx, len(order), func(i int) (err error) {
		at := order[i]
		var hash *Hash
		if hashes {
			hash = &found.hashes[at]
		}
		found.data[at], err = read(ctx, f.At(int(at)), hash, c)
		return err
	})
	return found, err
}

var readers = sync.Pool{New: func() any { return new(weights.Reader) }}

// zeroBytes is the size from which a piece of zeros is reported.
const zeroBytes = 16 << 10

// read goes through a tensor once, and sets its hash where that is not nil.
func read(ctx context.Context, t *weights.Tensor, sum *Hash, c *counter) (*data, error) {
	r := readers.Get().(*weights.Reader)
	defer readers.Put(r)
	d := &data{wild: -1}
	h := sha256.New()
	offset := int64(0)
	for i := range t.Pieces() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		piece := t.Piece(i)
		if sum != nil {
			h.Write(piece)
		}
		d.look(r, t, i, offset)
		offset += int64(len(piece))
		t.Release(i)
		c.add(len(piece), t.Name)
	}
	if sum != nil {
		h.Sum(sum[:0])
	}
	if d.wild < 0 && d.zero == 0 {
		return nil, nil
	}
	return d, nil
}

// look checks piece i, whose bytes begin at offset.
func (d *data) look(r *weights.Reader, t *weights.Tensor, i int, offset int64) {
	if d.wild < 0 {
		if d.wild = r.FirstNonFinite(t, i); d.wild >= 0 {
			d.value = r.Numbers(t, i)[d.wild-int64(i)*weights.PieceElements]
		}
	}
	if piece := t.Piece(i); len(piece) >= zeroBytes && allZero(piece) {
		if d.zero == 0 {
			d.zeroAt = offset
		}
		d.zero += int64(len(piece))
	}
}

func allZero(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
	}
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// take adds the results to the report.
func (r *Report) take(f *weights.File, found *findings, hashes bool) {
	unread := map[string]int{}
	for i, t := range f.Tensors() {
		d := found.data[i]
		if hashes {
			r.Tensors[i].SHA256 = &found.hashes[i]
		}
		if t.Readable() {
			r.Numbers += t.Elements()
		} else {
			unread[t.Type]++
		}
		if d == nil {
			continue
		}
		if d.wild >= 0 {
			r.problem(t.Name, "%s at row %d, column %d", wildName(d.value), d.wild/t.Cols, d.wild%t.Cols)
		}
		switch {
		case d.zero == t.Size() && d.zero > 0:
			r.note(t.Name, "all of its %d bytes are zero", d.zero)
		case d.zero > 0:
			r.note(t.Name, "%d of its %d bytes, from byte %d on, are zero: was the file downloaded completely?", d.zero,
				t.Size(), d.zeroAt)
		}
	}
	for _, t := range f.Tensors() {
		if n := unread[t.Type]; n > 0 {
			r.note("", "the numbers of %d tensors of type %s were not looked at: the type cannot be read", n, t.Type)
			delete(unread, t.Type)
		}
	}
}

func wildName(x float64) string {
	if math.IsInf(x, 0) {
		return "infinity"
	}
	return "NaN"
}

var errNothing = errors.New("names neither this file nor one of its tensors")
