package safetensors

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/peftconv/peftconv/internal/byname"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/mapped"
)

// File is an open file, or several that make up one model, or one in memory.
type File struct {
	Path     string            // what was opened; "" when the bytes came from memory
	Shards   []string          // names of the files of a model that is spread over several, in order; nil for a single one
	Metadata map[string]string // of the (first) file; nil when it has none
	Tensors  []*Tensor         // in the order of their data

	names byname.Index[Tensor]
	home  *home // of the tensors; nil where they are of several files
	maps  []*mapped.File
}

// Tensor finds a tensor by its name; nil when there is none.
func (f *File) Tensor(name string) *Tensor { return f.names.Find(name) }

// Parse reads a file that is in memory. The tensors' data are views of data.
func Parse(data []byte) (*File, error) { return parse(data) }

const (
	fileSuffix  = ".safetensors"
	indexSuffix = ".safetensors.index.json"
)

// Open maps a .safetensors file, or all the files that a *.safetensors.index.json names, or what a directory holds of
// these: model.safetensors, model.safetensors.index.json or adapter_model.safetensors, else the only one with such an
// ending. The tensors' data are views of the maps, valid until Close.
func Open(path string) (*File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	if info.IsDir() {
		if path, err = find(path); err != nil {
			return nil, err
		}
	}
	if strings.HasSuffix(path, ".json") {
		return openIndex(path)
	}
	return openFile(path)
}

// find is the file or index that Open takes from a directory.
func find(dir string) (string, error) {
	for _, name := range []string{"model" + fileSuffix, "model" + indexSuffix, "adapter_model" + fileSuffix} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	for _, suffix := range []string{indexSuffix, fileSuffix} {
		found, err := filesWith(dir, suffix)
		switch {
		case err != nil:
			return "", err
		case len(found) == 1:
			return filepath.Join(dir, found[0]), nil
		case len(found) > 1:
			return "", fmt.Errorf("safetensors: %s: holds %s and %d more such files: name one of them", dir, found[0],
				len(found)-1)
		}
	}
	return "", errkind.Errorf(fs.ErrNotExist, "safetensors: %s: holds no %s file", dir, fileSuffix)
}

func filesWith(dir, suffix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	var found []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			found = append(found, e.Name())
		}
	}
	return found, nil
}

func openFile(path string) (*File, error) {
	m, err := mapped.Open(path)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	f, err := parseMapped(m)
	if err != nil {
		m.Close()
		return nil, named(err, path)
	}
	f.Path, f.maps = path, []*mapped.File{m}
	f.Release() // the header is read
	f.home.mapped = true
	return f, nil
}

func parseMapped(m *mapped.File) (_ *File, err error) {
	defer mapped.Guard(&err)()
	return parse(m.Bytes())
}

// Release is [Tensor.Release] for the whole file, with its header and with the pages that tensors share.
func (f *File) Release() {
	for _, m := range f.maps {
		mapped.Discard(m.Bytes())
	}
}

// Close unmaps the files. The tensors' data are invalid after it. A second Close does nothing.
func (f *File) Close() error {
	for _, t := range f.Tensors {
		t.data = nil
	}
	var errs []error
	for _, m := range f.maps {
		errs = append(errs, m.Close())
	}
	f.maps = nil
	return errors.Join(errs...)
}
