package edit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/filelock"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/weights"
)

// Way is how a file was written.
type Way string

// The ways.
const (
	Untouched Way = "untouched"
	Cloned    Way = "clone"    // the header, in a clone of the file that took its place
	InPlace   Way = "in place" // the header, in the file itself
	Copied    Way = "copy"     // everything, into a new file that took the place of the old one
)

// Apply writes the plan. If it fails, the file is unchanged, with the exception that doc.go describes.
func (p *Plan) Apply(ctx context.Context) (_ Way, err error) {
	defer mapped.Guard(&err)()
	if p.Method == Nothing {
		return Untouched, nil
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	src, err := p.open(ctx)
	if err != nil {
		return "", err
	}
	defer src.Close()
	if p.Method == Header {
		return p.applyHeader(ctx, src)
	}
	return Copied, p.rewrite(ctx, src)
}

// open opens and locks the file, for writing if it will be changed, and checks that it is unchanged.
func (p *Plan) open(ctx context.Context) (*os.File, error) {
	flag := os.O_RDWR // asked for even where the file is replaced: read-only files are not edited
	if p.opt.Out != "" {
		flag = os.O_RDONLY
	}
	f, err := lock(ctx, p.Path, flag)
	if err != nil {
		return nil, err
	}
	var now [sha256.Size]byte
	info, err := f.Stat()
	if err == nil && info.Size() == p.Size {
		now, err = hashHead(f, p.space)
	}
	if err == nil && (info.Size() != p.Size || now != p.old) {
		err = &ChangedError{p.Path}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// A ChangedError says that a file has changed since it was read: another edit came first. The edit can be prepared
// anew.
type ChangedError struct{ Path string }

// Error implements error.
func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s: has changed since it was read", e.Path)
}

// lock opens a file for an edit and waits until no other edit has it. The lock ends when the file is closed.
func lock(ctx context.Context, path string, flag int) (*os.File, error) {
	f, err := infile.OpenWith(path, flag)
	if err != nil {
		return nil, err
	}
	soon, cancel := context.WithTimeout(ctx, gguf.EditWait)
	defer cancel()
	got, err := filelock.Wait(soon, f)
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case err != nil:
		err = nil // a file system without locks
	case !got:
		err = fmt.Errorf("%s: another process is editing this file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	// The edit that had the lock may have put a new file in its place.
	if !filelock.IsCurrent(f, path) {
		f.Close()
		return nil, &ChangedError{path}
	}
	return f, nil
}

// applyHeader writes a header that fits: into a clone, or in place, or, where neither is safe, with the whole file.
func (p *Plan) applyHeader(ctx context.Context, src *os.File) (Way, error) {
	old := make([]byte, p.space)
	if _, err := src.ReadAt(old, 0); err != nil {
		return "", err
	}
	lo, hi := differing(old, p.header)
	cloned, err := p.clone(src, lo, hi)
	if cloned || err != nil {
		return Cloned, err
	}
	links, err := links(src)
	if err != nil {
		return "", err
	}
	if links > 1 {
		return Copied, p.rewrite(ctx, src)
	}
	return InPlace, patch(src, p.Path, &journal{p.Size, lo, old[lo:hi], p.header[lo:hi]})
}

// differing is the range outside of which two slices of one length are the same.
func differing(a, b []byte) (lo, hi int64) {
	hi = int64(len(a))
	for lo < hi && a[lo] == b[lo] {
		lo++
	}
	for lo < hi && a[hi-1] == b[hi-1] {
		hi--
	}
	return lo, hi
}

// clone writes the header into a clone of the file and renames that over the file. It returns false where there are no
// clones.
func (p *Plan) clone(src *os.File, lo, hi int64) (bool, error) {
	f, err := atomicfile.Create(p.Path)
	var busy *atomicfile.BusyError
	if errors.As(err, &busy) {
		return false, err
	}
	if err != nil {
		return false, nil // a directory that may not be written to: the file itself may
	}
	defer f.Abort()
	if f.CloneFrom(src) != nil {
		return false, nil
	}
	if _, err := f.WriteAt(p.header[lo:hi], lo); err != nil {
		return true, err
	}
	return true, f.Commit()
}

// rewrite writes the whole file to a temporary one.
func (p *Plan) rewrite(ctx context.Context, src *os.File) error {
	path := p.opt.Out
	if path == "" {
		path = p.Path
	}
	out, err := atomicfile.Create(path)
	if err != nil {
		return err
	}
	defer out.Abort()
	if p.moves {
		err = p.layOut(ctx, out)
	} else {
		err = p.copy(ctx, out, src)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if runtime.GOOS == "windows" { // which does not replace an open file; elsewhere the lock stays until the end
		src.Close()
	}
	return out.Commit()
}

// copyBytes is the number of bytes copied between two checks for cancellation.
const copyBytes = 64 << 20

// copy writes the header and then everything after the old header.
func (p *Plan) copy(ctx context.Context, out *atomicfile.File, src *os.File) error {
	if _, err := out.Write(p.header); err != nil {
		return err
	}
	left := p.Size - p.space
	size := left
	if _, err := src.Seek(p.Size-left, io.SeekStart); err != nil {
		return err
	}
	for left > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(out, src, min(left, copyBytes))
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%s: has become shorter", p.Path)
		}
		if err != nil {
			return err
		}
		left -= n
		p.progress(size-left, size, "")
	}
	return ctx.Err()
}

func (p *Plan) progress(done, size int64, what string) {
	if p.opt.Progress != nil {
		p.opt.Progress(done, size, what)
	}
}

// layOut writes the file with another alignment of the tensors' data.
func (p *Plan) layOut(ctx context.Context, out *atomicfile.File) error {
	f, err := gguf.OpenShard(p.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	if f.Extra > 0 {
		return fmt.Errorf("%d bytes after the last tensor cannot be kept with another alignment", f.Extra)
	}
	c := &weights.Copier{From: f, Progress: p.progress}
	for i, t := range f.Tensors {
		t.Name = p.table[i].Name // of a file that is opened for this alone, and not asked for names
		c.Size += t.Size()
	}
	w, err := gguf.NewWriterLines(out, p.meta, f.Lines(), p.format)
	if err != nil {
		return err
	}
	for _, t := range f.Tensors {
		if err := c.Copy(ctx, w, t); err != nil {
			return err
		}
	}
	return w.Close()
}
