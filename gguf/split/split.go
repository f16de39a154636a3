package split

import (
	"context"
	"fmt"
	"os"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/weights"
)

// Options configures the division of a model. One of MaxTensors and MaxBytes should be set; the other is 0.
type Options struct {
	MaxTensors int   // the most tensors a file has
	MaxBytes   int64 // the most bytes of padded tensor data a file has; a tensor that has more alone gets its own file
	EmptyFirst bool  // the first file gets the metadata alone
}

// Shard is a file that a model is to be split into.
type Shard struct {
	Path    string `json:"path"`
	Tensors int    `json:"tensors"`
	Bytes   int64  `json:"bytes"` // of the whole file

	meta  *gguf.Metadata
	first int // of its tensors in the model
}

// Plan is a prepared split that has not been written.
type Plan struct {
	Shards []Shard
	Size   int64 // bytes of all tensors

	source *gguf.File
	format gguf.Format
}

// NewPlan divides the tensors of a model, in their order, among files named PREFIX-00001-of-00003.gguf and so on. The
// model must stay open until the plan has been written.
func NewPlan(f *gguf.File, prefix string, opt Options) (_ *Plan, err error) {
	defer mapped.Guard(&err)()
	sizes := func(i int) int64 { return f.Tensors[i].Size() }
	groups := gguf.SplitSizes(len(f.Tensors), sizes, f.Alignment, opt.MaxTensors, opt.MaxBytes)
	if opt.EmptyFirst {
		groups = append([]int{0}, groups...)
	}
	p := &Plan{source: f, format: gguf.Format{Version: f.Version, Order: f.Order}}
	first := 0
	for i, n := range groups {
		meta, err := gguf.SplitMetadata(f.Meta, i, len(groups), len(f.Tensors))
		if err != nil {
			return nil, err
		}
		s := Shard{gguf.SplitPath(prefix, i, len(groups)), n, 0, meta, first}
		if _, s.Bytes, err = gguf.HeaderSizeLines(meta, s.lines(f), p.format); err != nil {
			return nil, err
		}
		p.Shards = append(p.Shards, s)
		first += n
	}
	for _, t := range f.Tensors {
		p.Size += t.Size()
	}
	return p, nil
}

// lines is the table of the file's tensors.
func (s *Shard) lines(f *gguf.File) gguf.Lines {
	tensors := f.Tensors[s.first:][:s.Tensors]
	return gguf.Lines{Len: len(tensors), At: func(i int) gguf.Tensor { return *tensors[i] }}
}

// Existing is the first of the plan's files that already exists, or "".
func (p *Plan) Existing() string {
	for _, s := range p.Shards {
		if _, err := os.Lstat(s.Path); err == nil {
			return s.Path
		}
	}
	return ""
}

// Progress is called after each copied piece, with the bytes done, the bytes in all, and the current tensor.
type Progress = func(done, size int64, tensor string)

// Write writes the files. It replaces existing files of the same names, except those of the model itself, which is an
// error. If it fails, no new file is left and existing ones are unchanged, unless the system fails while renaming.
func (p *Plan) Write(ctx context.Context, progress Progress) (err error) {
	defer mapped.Guard(&err)()
	if err := p.checkSource(); err != nil {
		return err
	}
	c := &weights.Copier{From: p.source, Size: p.Size, Progress: progress}
	files := make([]*atomicfile.File, len(p.Shards))
	defer func() {
		for _, f := range files {
			if f != nil {
				f.Abort()
			}
		}
	}()
	for i := range p.Shards {
		f, err := atomicfile.Create(p.Shards[i].Path)
		if err != nil {
			return err
		}
		files[i] = f
		if err := p.writeShard(ctx, c, f, &p.Shards[i]); err != nil {
			return fmt.Errorf("write %s: %w", p.Shards[i].Path, err)
		}
	}
	return atomicfile.CommitAll(files...)
}

// checkSource refuses to replace a file of the input.
func (p *Plan) checkSource() error {
	sources := p.source.Shards
	if sources == nil {
		sources = []string{p.source.Path}
	}
	for _, s := range p.Shards {
		for _, source := range sources {
			if sameFile(s.Path, source) {
				return fmt.Errorf("%s is a file of the model that is split: choose another prefix", s.Path)
			}
		}
	}
	return nil
}

func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

func (p *Plan) writeShard(ctx context.Context, c *weights.Copier, f *atomicfile.File, s *Shard) error {
	w, err := gguf.NewWriterLines(f, s.meta, s.lines(p.source), p.format)
	if err != nil {
		return err
	}
	for _, t := range p.source.Tensors[s.first:][:s.Tensors] {
		if err := c.Copy(ctx, w, t); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Seal()
}
