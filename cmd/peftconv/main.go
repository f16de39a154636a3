// Command peftconv fine-tunes quantized GGUF models: it trains adapters over the frozen file, evaluates, merges and
// exports them. "peftconv help" lists the verbs.
package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/files"
	"github.com/peftconv/peftconv/internal/cli/shell"
	"github.com/peftconv/peftconv/internal/hashcache"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/names"
	"github.com/peftconv/peftconv/peft"
)

// verbs are the words that may follow peftconv, by place: the order in which help lists them.
var verbs []*cli.Verb

func init() {
	for _, v := range slices.Concat(files.Verbs, shell.Verbs) {
		register(v)
	}
}

// register adds a verb. Each verb's file calls it.
func register(v *cli.Verb) {
	verbs = append(verbs, v)
	slices.SortStableFunc(verbs, func(a, b *cli.Verb) int { return a.Place - b.Place })
}

func main() {
	atomicfile.Check = mapped.EverChanged
	if dir, err := os.UserCacheDir(); err == nil {
		hashcache.Use(filepath.Join(dir, "peftconv", "hashes"))
	}
	p := peftconv()
	p.Check = mapped.EverChanged
	os.Exit(p.Main())
}

// peftconv is the program.
func peftconv() *cli.Program {
	return &cli.Program{
		Name: "peftconv", Verbs: verbs, Version: version(), Intro: intro, Outro: outro, Help: helpOf,
	}
}

// run executes the arguments over other streams than the process's own and returns the exit status.
func run(ctx context.Context, args []string, s cli.Streams) int { return peftconv().Run(ctx, args, s) }

const intro = `peftconv fine-tunes quantized GGUF models, on a CPU, in one program: the model file stays frozen and quantized.

Usage:
  peftconv VERB [flags]

Verbs:
`

const outro = `
In place of a model's path a verb takes its name in another program's folder, where that has downloaded it:
` + names.Help + `.

"peftconv VERB --help" says what a verb does and lists its flags. New here? "peftconv demo" needs nothing.
Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 141 nobody reads the output any more.
`

// release is set by the linker in release builds.
var release string

// version names the release, or else the version of the library.
func version() string {
	if release != "" {
		return release
	}
	return peft.Version
}
