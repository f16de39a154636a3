package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/names"
)

// ModelNames is what help says of the flags that Models marks and of Verb.Models.
const ModelNames = "a GGUF `FILE`, a Hugging Face directory with safetensors, or a name: " + names.Help

// Annotations of flags that name a model.
const (
	modelKey = "model"
	nameKey  = "name" // as it was given, where a path took its place
)

// Models marks flags whose value is a model: a path, or a name of package names, in whose place the path is put before
// the flags are validated.
func Models(fs *pflag.FlagSet, flags ...string) {
	for _, name := range flags {
		annotate(fs.Lookup(name), modelKey, "true")
	}
}

// resolveModels puts paths in the place of names, in flags and in the first positional arguments.
func (v *Verb) resolveModels(fs *pflag.FlagSet) (args []string, err error) {
	fs.Visit(func(f *pflag.Flag) {
		if f.Annotations[modelKey] == nil || err != nil {
			return
		}
		var path string
		if path, err = names.Resolve(f.Value.String()); err != nil {
			err = fmt.Errorf("--%s: %w", f.Name, err)
		} else if path != f.Value.String() {
			annotate(f, nameKey, f.Value.String())
			err = f.Value.Set(path)
		}
	})
	args = slices.Clone(fs.Args())
	for i := 0; i < min(v.Models, len(args)) && err == nil; i++ {
		args[i], err = names.Resolve(args[i])
	}
	return args, err
}
