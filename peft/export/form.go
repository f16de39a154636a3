package export

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/peft"
)

// Form is a form of an adapter that another program loads. A form is registered by the file that writes it.
type Form struct {
	Place     int    // in the order of Forms; forms stand in steps of ten
	Name      string // "gguf", "peft"
	About     string // which program loads it, and which adapters it can hold
	Directory bool   // a directory is written, not a file
	NoBase    bool   // the adapter's base is not needed
	NoAdapter bool   // a base without adapters can be written
	// Write writes the adapters of in, of which most forms take one only, to path.
	Write func(in Input, path string, opt Options) (*Report, error)
	// Use are commands, by words, that load what was written; nil: there is none.
	Use func(base, path string, r *Report) [][]string
}

// ggufOf is a base's path as llama.cpp takes it: model.gguf stands for what a directory is converted to.
func ggufOf(base string) string {
	info, err := os.Stat(base)
	if ext := filepath.Ext(base); err == nil && info.IsDir() || ext == ".safetensors" || ext == ".json" {
		return "model.gguf"
	}
	return base
}

// Input is what is exported.
type Input struct {
	Base     *peft.Base // nil where Form.NoBase says that none is needed
	Adapters []peft.Scaled
}

// Options are those of all forms. The zero value is the default of each.
type Options struct {
	LoRA   LoRAOptions   // of the form gguf
	State  StateOptions  // of the form state
	Ollama OllamaOptions // of the form ollama
}

// Report says what was written, as far as the form has something to say.
type Report struct {
	Note   string
	Prompt string // what every prompt has to begin with, of the form model
	LoRA   *LoRAReport
	State  *StateReport
	Ollama *OllamaReport
}

var forms []*Form

// Register adds a form. A name that is taken is the caller's bug and panics.
func Register(f *Form) {
	if Find(f.Name) != nil {
		panic("export: a form is registered twice")
	}
	forms = append(forms, f)
	slices.SortStableFunc(forms, func(a, b *Form) int { return a.Place - b.Place })
}

// Forms are the forms that are registered, by their places.
func Forms() []*Form { return slices.Clone(forms) }

// Names are the names of Forms.
func Names() []string {
	names := make([]string, len(forms))
	for i, f := range forms {
		names[i] = f.Name
	}
	return names
}

// Find is the form of a name, nil where there is none.
func Find(name string) *Form {
	i := slices.IndexFunc(forms, func(f *Form) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return forms[i]
}

// To writes adapters in the form of a name. A name that is not known is an error that lists those that are.
func To(form string, in Input, path string, opt Options) (_ *Report, err error) {
	defer mapped.Guard(&err)()
	f := Find(form)
	if f == nil {
		return nil, errkind.Errorf(peft.ErrUnsupported, "export %s: form %q is not known, expected %s", path, form,
			strings.Join(Names(), ", "))
	}
	return f.Write(in, path, opt)
}

// one is the adapter of a form that takes one only.
func (in Input) one(path string) (*peft.Adapter, error) {
	if len(in.Adapters) != 1 {
		return nil, fmt.Errorf("export %s: %d adapters, expected one: combine them first", path, len(in.Adapters))
	}
	return in.Adapters[0].Adapter, nil
}
