package quantize

import (
	"fmt"
	"strings"

	"github.com/dlclark/regexp2"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/imatrix"
	"github.com/peftconv/peftconv/quant"
)

// Options configures the quantization of a model.
type Options struct {
	Type    FileType
	Imatrix *imatrix.Matrix // weights of the errors; nil: all are equal

	Pure          bool       // all matrices get Type.Type: no rules
	Overrides     []Override // the first whose pattern is found in a tensor's name gives its type
	OutputType    *gguf.Type // of the output head; nil: as Type says
	EmbeddingType *gguf.Type // of the token embedding; nil: as Type says
	LeaveOutput   bool       // the output head stays as it is

	AllowRequantize bool // tensors that are quantized already may be requantized
	KeepSplit       bool // a split model keeps its number of files
}

// Override gives tensors a type by their names.
type Override struct {
	Pattern *regexp2.Regexp
	Type    gguf.Type
}

// ParseOverride reads PATTERN=TYPE. The pattern is a regular expression as JavaScript and C++ have them, is looked for
// anywhere in a name, and is in lower case, as names of tensors are.
func ParseOverride(s string) (Override, error) {
	pattern, name, ok := strings.Cut(s, "=")
	if !ok || pattern == "" || name == "" {
		return Override{}, fmt.Errorf("%q, expected PATTERN=TYPE, for example attn_v=Q6_K", s)
	}
	re, err := regexp2.Compile(strings.ToLower(pattern), regexp2.ECMAScript)
	if err != nil {
		return Override{}, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	t, err := ParseType(name)
	return Override{re, t}, err
}

// ParseType finds a type that tensors can be quantized to.
func ParseType(name string) (gguf.Type, error) {
	t, err := gguf.ParseType(name)
	if err == nil && !quant.Supported(t) {
		err = fmt.Errorf("nothing can be quantized to %v", t)
	}
	return t, err
}

// override is the override that names a tensor; nil: there is none.
func (o *Options) override(name string) *Override {
	for i := range o.Overrides {
		if ok, err := o.Overrides[i].Pattern.MatchString(name); ok && err == nil {
			return &o.Overrides[i]
		}
	}
	return nil
}
