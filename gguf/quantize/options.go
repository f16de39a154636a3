package quantize

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/dlclark/regexp2"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/imatrix"
	"github.com/peftconv/peftconv/quant"
)

// Options configures the quantization of a model.
type Options struct {
	Type    FileType        // as ParseFileType gives it
	Imatrix *imatrix.Matrix // weights of the errors; nil: all are equal

	Pure          bool       // all matrices get Type.Type: no rules
	Overrides     []Override // the first whose pattern is found in a tensor's name gives its type
	OutputType    *gguf.Type // of the output head; nil: as Type says
	EmbeddingType *gguf.Type // of the token embedding; nil: as Type says
	LeaveOutput   bool       // the output head stays as it is

	AllowRequantize bool // tensors that are quantized already may be requantized
	KeepSplit       bool // a split model keeps its number of files

	Reader Reader // gives the data of the tensors; nil: they are in the file
}

// Reader reads the data of tensors that are not in a GGUF file. Goroutines may share it.
type Reader interface {
	// Read gives bytes from to to of a tensor's data, little-endian: whole rows of one matrix. They may be in buffer,
	// which it may grow.
	Read(t *gguf.Tensor, from, to int64, buffer *[]byte) ([]byte, error)
	// Release tells the system that what was read will not be needed soon.
	Release()
}

// inFile reads the tensors of a file.
type inFile struct{ file *gguf.File }

func (f inFile) Read(t *gguf.Tensor, from, to int64, buffer *[]byte) ([]byte, error) {
	src := t.Bytes()[from:to]
	if f.file.Order != binary.BigEndian {
		return src, nil
	}
	*buffer = append((*buffer)[:0], src...)
	return *buffer, gguf.SwapBytes(t.Type, *buffer)
}

func (f inFile) Release() { f.file.Release() }

// Override gives tensors a type by their names. Pattern is a regular expression as JavaScript and C++ have them, is
// looked for anywhere in a name, and is taken in lower case, as names of tensors are.
type Override struct {
	Pattern string
	Type    gguf.Type
}

// ParseOverride reads PATTERN=TYPE.
func ParseOverride(s string) (Override, error) {
	pattern, name, ok := strings.Cut(s, "=")
	if !ok || pattern == "" || name == "" {
		return Override{}, fmt.Errorf("%q, expected PATTERN=TYPE, for example attn_v=Q6_K", s)
	}
	if _, err := compile(pattern); err != nil {
		return Override{}, err
	}
	t, err := ParseType(name)
	return Override{pattern, t}, err
}

func compile(pattern string) (*regexp2.Regexp, error) {
	re, err := regexp2.Compile(strings.ToLower(pattern), regexp2.ECMAScript)
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	return re, nil
}

// ParseType finds a type that tensors can be quantized to.
func ParseType(name string) (gguf.Type, error) {
	t, err := gguf.ParseType(name)
	if err == nil && !quant.Supported(t) {
		err = fmt.Errorf("nothing can be quantized to %v", t)
	}
	return t, err
}

// settings are options whose patterns have been compiled.
type settings struct {
	Options
	patterns []*regexp2.Regexp // of the overrides
}

func newSettings(opt Options) (settings, error) {
	s := settings{Options: opt}
	for _, o := range opt.Overrides {
		re, err := compile(o.Pattern)
		if err != nil {
			return settings{}, err
		}
		s.patterns = append(s.patterns, re)
	}
	return s, nil
}

// override is the override that names a tensor; nil: there is none.
func (o *settings) override(name string) *Override {
	for i, re := range o.patterns {
		if ok, err := re.MatchString(name); ok && err == nil {
			return &o.Overrides[i]
		}
	}
	return nil
}
