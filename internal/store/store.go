// Package store finds the tensors and the metadata of a model alike in all files that one can lie in: a GGUF file, one
// that is split over several, a Hugging Face directory, a safetensors file or the index of several.
package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/safetensors"
)

// Store is the open files of a model or adapter. One of GGUF and Safetensors is set; their tensors are valid until
// Close.
type Store struct {
	Path        string   // as it was given to Open
	Files       []string // the paths of all files with weights, in the order of the model
	GGUF        *gguf.File
	Safetensors *safetensors.File

	readType  sync.Once
	modelType string
}

// Tensor is a tensor of a Store.
type Tensor struct {
	Name     string
	Shape    []int64   // rows first
	Type     gguf.Type // of the elements; Unknown where package gguf has none like it
	TypeName string    // as the file names it
	Data     []byte    // a view of the file, in its byte order
}

// Unknown is a type that no package knows.
const Unknown = gguf.Type(1<<32 - 1)

// dtypes are the data types of safetensors whose bytes are rows of a type of GGUF as they are.
var dtypes = map[safetensors.DType]gguf.Type{"F32": gguf.F32, "F16": gguf.F16, "BF16": gguf.BF16}

// Open opens a .gguf file, alone or one of several, a .safetensors file, an index of such files, or a directory that
// holds either. Errors: files that are not there, of another format, or damaged.
func Open(path string) (*Store, error) {
	isGGUF, err := sniff(path)
	if err != nil {
		return nil, err
	}
	if isGGUF {
		f, err := gguf.Open(path)
		if err != nil {
			return nil, err
		}
		return OfGGUF(f), nil
	}
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	s := &Store{Path: path, Files: []string{f.Path}, Safetensors: f}
	if f.Shards != nil {
		s.Files = nil
		for _, name := range f.Shards {
			s.Files = append(s.Files, filepath.Join(filepath.Dir(f.Path), name))
		}
	}
	return s, nil
}

// OfGGUF is the Store of a GGUF file that is open.
func OfGGUF(f *gguf.File) *Store {
	s := &Store{Path: f.Path, Files: f.Shards, GGUF: f}
	if s.Files == nil {
		s.Files = []string{f.Path}
	}
	return s
}

// sniff tells a GGUF file from safetensors by its first bytes.
func sniff(path string) (isGGUF bool, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	if info.IsDir() || strings.HasSuffix(path, ".json") {
		return false, nil
	}
	f, err := infile.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head := make([]byte, 9)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	head = head[:n]
	switch ext := filepath.Ext(path); {
	case strings.HasPrefix(string(head), "GGUF"), ext == ".gguf":
		return true, nil
	case n == 9 && head[8] == '{', ext == ".safetensors":
		return false, nil
	}
	const what = `%s: neither GGUF nor safetensors: it begins with %q, expected "GGUF" or a safetensors header`
	return false, fmt.Errorf(what, path, head[:min(n, 4)])
}

// Tensor finds a tensor by the name that the files have for it.
func (s *Store) Tensor(name string) (t Tensor, ok bool) {
	if s.GGUF != nil {
		if t := s.GGUF.Tensor(name); t != nil {
			return fromGGUF(t), true
		}
	} else if t := s.Safetensors.Tensor(name); t != nil {
		return fromSafetensors(t), true
	}
	return Tensor{}, false
}

// Tensors are all tensors, in the order of the files.
func (s *Store) Tensors() iter.Seq[Tensor] {
	return func(yield func(Tensor) bool) {
		if s.GGUF != nil {
			for _, t := range s.GGUF.Tensors {
				if !yield(fromGGUF(t)) {
					return
				}
			}
			return
		}
		for _, t := range s.Safetensors.Tensors {
			if !yield(fromSafetensors(t)) {
				return
			}
		}
	}
}

func fromGGUF(t *gguf.Tensor) Tensor {
	shape := slices.Clone(t.Shape)
	slices.Reverse(shape)
	return Tensor{Name: t.Name, Shape: shape, Type: t.Type, TypeName: t.Type.String(), Data: t.Bytes()}
}

func fromSafetensors(t *safetensors.Tensor) Tensor {
	typ, ok := dtypes[t.DType]
	if !ok {
		typ = Unknown
	}
	return Tensor{Name: t.Name, Shape: t.Shape, Type: typ, TypeName: string(t.DType), Data: t.Bytes()}
}

// Config is what the config.json beside the safetensors files says. Errors: a GGUF file, which has none; a file that is
// not there, or no JSON object.
func (s *Store) Config() (map[string]any, error) {
	if s.Safetensors == nil {
		return nil, fmt.Errorf("%s: a GGUF file has no config.json", s.Path)
	}
	return ReadConfig(s.ConfigPath())
}

// ReadConfig is what the config.json at a path says. Errors: a file that is not there, or no JSON object.
func ReadConfig(path string) (map[string]any, error) {
	text, err := infile.Read(path, infile.Config)
	if err != nil {
		return nil, err
	}
	var config map[string]any
	if err := json.Unmarshal(withoutInfinity(text), &config); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return config, nil
}

// notNumbers are what Python's json writes for numbers that JSON has no words for.
var notNumbers = regexp.MustCompile(`("(?:[^"\\]|\\.)*")|-?Infinity|NaN`)

// withoutInfinity has null for them.
func withoutInfinity(text []byte) []byte {
	return notNumbers.ReplaceAllFunc(text, func(found []byte) []byte {
		if found[0] == '"' {
			return found
		}
		return []byte("null")
	})
}

// ModelType is the model_type that the config.json beside the safetensors files names, "" where there is none.
func (s *Store) ModelType() string {
	s.readType.Do(func() {
		if config, err := s.Config(); err == nil {
			s.modelType, _ = config["model_type"].(string)
		}
	})
	return s.modelType
}

// ConfigPath is where the config.json beside the safetensors files is, or would be.
func (s *Store) ConfigPath() string {
	return filepath.Join(filepath.Dir(s.Safetensors.Path), "config.json")
}

// Release tells the system that the pages of the files will not be needed soon. The bytes stay valid.
func (s *Store) Release() {
	if s.GGUF != nil {
		s.GGUF.Release()
	} else {
		s.Safetensors.Release()
	}
}

// Close ends the maps on which the tensors are views. A second Close does nothing.
func (s *Store) Close() error {
	if s.GGUF != nil {
		return s.GGUF.Close()
	}
	return s.Safetensors.Close()
}
