package edit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/diff"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/sanity"
)

// Options configures where and how an edited file is written.
type Options struct {
	Out     string // another file to write; "" changes the file itself
	Rewrite bool   // write the whole file anew even where the header fits, without PadKey
	// where the file is written anew: bytes to leave in the header for later edits
	Reserve  int64
	Progress func(done, size int64, what string) // while a file is written anew
}

// Method is how a plan is carried out.
type Method string

// The methods.
const (
	Nothing Method = "nothing" // the file already has all this
	Header  Method = "header"  // the header alone is written: the new one fits into the space of the old one
	Rewrite Method = "rewrite" // the file is written anew
)

// Plan is a prepared edit that has not been written.
type Plan struct {
	Path     string
	Changes  []diff.ValueChange
	Tensors  []Pair   // that are renamed
	Warnings []string // contradictions in the edited file that were not there before
	Method   Method
	Space    int64 // bytes before the tensors' data, now
	Needed   int64 // bytes that the new header needs
	Size     int64 // bytes of the file, now

	opt    Options
	old    [sha256.Size]byte // of the first Space bytes, or of all of a shorter file
	space  int64             // how many these are
	header []byte            // replaces them
	moves  bool              // the relative positions of the tensors' data change: another alignment
	meta   *gguf.Metadata
	table  []*gguf.Tensor // nil once the header is made
	format gguf.Format
}

// Prepare plans an edit of the file at path. It writes nothing. A file of a split model is edited alone.
func Prepare(path string, e Edit, opt Options) (_ *Plan, err error) {
	defer mapped.Guard(&err)()
	if e.empty() && !opt.Rewrite && opt.Out == "" {
		return nil, errEmpty
	}
	held, err := lock(context.Background(), path, os.O_RDONLY) // so that all that is read is of one version
	var changed *ChangedError
	if errors.As(err, &changed) {
		return Prepare(path, e, opt)
	}
	if err != nil {
		return nil, err
	}
	defer held.Close()
	if Pending(path) {
		return nil, &gguf.InterruptedError{Path: path}
	}
	f, err := gguf.OpenShard(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := &Plan{Path: path, Tensors: []Pair{}, opt: opt, Space: f.DataOffset,
		format: gguf.Format{Version: f.Version, Order: f.Order}}
	if err := p.prepare(f, held, &e); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

func (p *Plan) prepare(f *gguf.File, held *os.File, e *Edit) error {
	if err := checkShard(f, e); err != nil {
		return err
	}
	var err error
	if p.meta, p.table, err = e.apply(f.Meta, f.Tensors); err != nil {
		return err
	}
	p.meta.Delete(PadKey)
	p.compare(f)
	if err := p.readHead(held); err != nil {
		return err
	}
	if err := p.choose(); err != nil || p.moves {
		return err
	}
	p.table = nil // what it has is in the header
	return nil
}

// checkShard refuses metadata in files where no program reads them.
func checkShard(f *gguf.File, e *Edit) error {
	no, ok := f.Meta.Uint("split.no")
	if ok && no > 0 && len(e.Set)+len(e.Remove)+len(e.Rename) > 0 {
		return fmt.Errorf("is file %d of a model that is split; its metadata are in the first file: edit that one", no+1)
	}
	return nil
}

// compare fills in what differs.
func (p *Plan) compare(f *gguf.File) {
	before, table := f.Meta.Clone(), f.Tensors
	before.Delete(PadKey)
	p.Changes = diff.Metadata(before, p.meta)
	for i := range p.table {
		if p.table[i].Name != table[i].Name {
			p.Tensors = append(p.Tensors, Pair{table[i].Name, p.table[i].Name})
		}
	}
	p.moves = alignment(f.Meta) != alignment(p.meta)
	edited := p.table
	if _, split := f.Meta.Get("split.count"); split { // the other tensors are not known here
		table, edited = nil, nil
	}
	wrong, odd := sanity.Check(f.Meta, table)
	nowWrong, nowOdd := sanity.Check(p.meta, edited)
	for _, problem := range slices.Concat(nowWrong, nowOdd) {
		if !slices.Contains(wrong, problem) && !slices.Contains(odd, problem) {
			p.Warnings = append(p.Warnings, problem)
		}
	}
}

// alignment is the alignment in the metadata, or the default.
func alignment(meta *gguf.Metadata) uint64 {
	if n, ok := meta.Uint(keyAlignment); ok {
		return n
	}
	return 32
}

// readHead notes the size of the file and the hash of its header.
func (p *Plan) readHead(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	p.Size, p.space = info.Size(), min(p.Space, info.Size())
	p.old, err = hashHead(f, p.space)
	return err
}

// hashHead is the SHA-256 of a file's first n bytes.
func hashHead(f io.ReaderAt, n int64) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	if _, err := io.CopyN(h, io.NewSectionReader(f, 0, n), n); err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	return sum, nil
}

// choose makes the new header and decides how it is written.
func (p *Plan) choose() (err error) {
	if p.Needed, err = p.size(-1); err != nil {
		return err
	}
	if p.opt.Out == "" && !p.opt.Rewrite {
		if len(p.Changes)+len(p.Tensors) == 0 {
			p.Method = Nothing
			return nil
		}
		if fits, err := p.fit(); fits || err != nil {
			p.Method = Header
			return err
		}
	}
	p.Method = Rewrite
	if p.opt.Reserve > 0 {
		if p.meta, err = padded(p.meta, p.opt.Reserve); err != nil {
			return err
		}
	}
	p.header, err = p.encode(-1)
	return err
}

// fit makes the header exactly as long as the old one, if that is possible.
func (p *Plan) fit() (bool, error) {
	if p.moves || p.Needed > p.Space || p.space != p.Space {
		return false, nil
	}
	blanks := int64(-1)
	if p.Needed < p.Space {
		least, err := p.size(0)
		if err != nil || least > p.Space {
			return false, err
		}
		blanks = p.Space - least
	}
	if size, err := p.size(blanks); err != nil || size != p.Space {
		return false, err
	}
	var err error
	p.header, err = p.encode(blanks)
	return true, err
}

// lines is the table of the edited file.
func (p *Plan) lines() gguf.Lines {
	return gguf.Lines{Len: len(p.table), At: func(i int) gguf.Tensor { return *p.table[i] }}
}

// size is the number of bytes that encode gives.
func (p *Plan) size(blanks int64) (int64, error) {
	meta, err := padded(p.meta, blanks)
	if err != nil {
		return 0, err
	}
	size, _, err := gguf.HeaderSizeLines(meta, p.lines(), p.format)
	return size, err
}

// encode is the new header with this number of blanks under PadKey, or without PadKey for -1.
func (p *Plan) encode(blanks int64) ([]byte, error) {
	meta, err := padded(p.meta, blanks)
	if err != nil {
		return nil, err
	}
	size, _, err := gguf.HeaderSizeLines(meta, p.lines(), p.format)
	if err != nil {
		return nil, err
	}
	b := bytes.NewBuffer(make([]byte, 0, size))
	_, err = gguf.NewWriterLines(b, meta, p.lines(), p.format)
	return b.Bytes(), err
}

// padded is metadata with this number of blanks under PadKey; unchanged for -1.
func padded(meta *gguf.Metadata, blanks int64) (*gguf.Metadata, error) {
	if blanks < 0 {
		return meta, nil
	}
	if blanks > 1<<30 {
		return nil, errors.New("more than 1 GiB of space would be left in the header")
	}
	meta = meta.Clone()
	return meta, meta.Set(PadKey, strings.Repeat(" ", int(blanks)))
}
