package atomicfile

import (
	"bufio"
	"fmt"
	"io"
	"path/filepath"
)

// Content is a file and what it is to hold.
type Content struct {
	Path string
	Fill func(io.Writer) error // writes it
}

// WriteAll writes files of one directory that belong together, buffered: all get their names, or none.
func WriteAll(contents ...Content) error {
	var files []*File
	defer func() {
		for _, f := range files {
			f.Abort()
		}
	}()
	for _, c := range contents {
		f, err := Create(c.Path)
		if err != nil {
			return err
		}
		files = append(files, f)
		w := bufio.NewWriterSize(f, 1<<20)
		if err := c.Fill(w); err != nil {
			return err
		}
		if err := w.Flush(); err != nil {
			return fmt.Errorf("write %s: %w", c.Path, err)
		}
	}
	return CommitAll(files...)
}

// CommitAll commits files of one directory that belong together: all get their names, or none. A process that is
// killed in between leaves a note by which the next Create or [Settle] there gives the others theirs.
func CommitAll(files ...*File) error {
	defer func() {
		for _, f := range files {
			f.Abort()
		}
	}()
	j := &journal{}
	var named []*File
	for _, f := range files {
		if err := f.Seal(); err != nil {
			return err
		}
		if f.direct {
			continue
		}
		dir := filepath.Dir(f.path)
		if j.dir != "" && dir != j.dir {
			return fmt.Errorf("commit %s: is not in %s, where the files before it are", f.path, j.dir)
		}
		j.dir = dir
		named = append(named, f)
		j.Renames = append(j.Renames, rename{filepath.Base(f.t.path), filepath.Base(f.path)})
	}
	if len(named) > 1 {
		if err := j.commit(named); err != nil {
			return err
		}
	}
	for _, f := range files {
		if !f.done {
			if err := f.Commit(); err != nil {
				return err
			}
		}
	}
	return nil
}

// commit writes the journal and makes its changes.
func (j *journal) commit(files []*File) error {
	if err := Check(); err != nil {
		return err
	}
	note, err := newTemporary(j.dir, filepath.Base(files[0].path), 0o600)
	if err != nil {
		return err
	}
	defer note.release()
	if err := j.write(note.f); err != nil {
		note.remove()
		return fmt.Errorf("write %s: %w", note.path, err)
	}
	live.Lock()
	defer live.Unlock()
	if live.ended {
		note.remove()
		return errEnded
	}
	for i, f := range files {
		err := f.rename()
		if err == nil {
			continue
		}
		if i == 0 {
			note.remove()
			return err
		}
		for _, f := range files[i:] {
			f.leave()
		}
		note.f.Close()
		return fmt.Errorf("%w (%d of %d files have their names; the next command that writes to %s names the others)", err, i,
			len(files), j.dir)
	}
	err = syncDir(j.dir)
	note.remove()
	return err
}
