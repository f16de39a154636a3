package infile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Dir is the files of a directory as os.DirFS has them, except that only regular ones can be opened.
func Dir(dir string) fs.FS { return tree{os.DirFS(dir), dir} }

type tree struct {
	fs.FS
	dir string
}

// Open implements fs.FS.
func (t tree) Open(name string) (fs.File, error) {
	local, err := filepath.Localize(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	f, err := open(filepath.Join(t.dir, local), name, os.O_RDONLY)
	if err == nil {
		return f, nil
	}
	var of *fs.PathError
	if errors.As(err, &of) {
		of.Path = name // as os.DirFS has it
	}
	return nil, err
}

// Stat implements fs.StatFS.
func (t tree) Stat(name string) (fs.FileInfo, error) { return fs.Stat(t.FS, name) }

// ReadDir implements fs.ReadDirFS.
func (t tree) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(t.FS, name) }

// ReadIn is the content of a file of files, at most limit bytes.
func ReadIn(files fs.FS, name string, limit int64) ([]byte, error) {
	if memory, ok := files.(fs.ReadFileFS); ok {
		data, err := memory.ReadFile(name)
		if err == nil && int64(len(data)) > limit {
			return nil, tooLarge(name, fmt.Sprintf("has %d bytes", len(data)), limit)
		}
		return data, err
	}
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readFile(f, name, limit)
}
