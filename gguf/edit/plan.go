package edit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/diff"
	"github.com/peftconv/peftconv/internal/infile"
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
	old    []byte // the first Space bytes, or all of a shorter file
	header []byte // replaces them
	moves  bool   // the relative positions of the tensors' data change: another alignment
	meta   *gguf.Metadata
	table  []gguf.Tensor
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
	if err := p.prepare(f, &e); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

func (p *Plan) prepare(f *gguf.File, e *Edit) error {
	if err := checkShard(f, e); err != nil {
		return err
	}
	var err error
	if p.meta, p.table, err = e.apply(f.Meta, f.Table()); err != nil {
		return err
	}
	p.meta.Delete(PadKey)
	p.compare(f)
	if p.Size, p.old, err = readHead(p.Path, p.Space); err != nil {
		return err
	}
	return p.choose()
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
	before, table := f.Meta.Clone(), f.Table()
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

// readHead gives the size of a file and its first n bytes.
func readHead(path string, n int64) (size int64, head []byte, err error) {
	f, err := infile.Open(path)
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, nil, err
	}
	head = make([]byte, min(n, info.Size()))
	_, err = io.ReadFull(f, head)
	return info.Size(), head, err
}

// choose makes the new header and decides how it is written.
func (p *Plan) choose() (err error) {
	if p.header, err = p.encode(-1); err != nil {
		return err
	}
	p.Needed = int64(len(p.header))
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
		p.header, err = p.encode(-1)
	}
	return err
}

// fit makes the header exactly as long as the old one, if that is possible.
func (p *Plan) fit() (bool, error) {
	if p.moves || p.Needed > p.Space || int64(len(p.old)) != p.Space {
		return false, nil
	}
	if p.Needed == p.Space {
		return true, nil
	}
	least, err := p.encode(0)
	if err != nil || int64(len(least)) > p.Space {
		return false, err
	}
	p.header, err = p.encode(p.Space - int64(len(least)))
	return int64(len(p.header)) == p.Space, err
}

// encode is the new header with this number of blanks under PadKey, or without PadKey for -1.
func (p *Plan) encode(blanks int64) ([]byte, error) {
	meta, err := padded(p.meta, blanks)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	_, err = gguf.NewWriterFormat(&b, meta, p.table, p.format)
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
