package shell

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
)

// Verbs are the verbs of this package.
var Verbs = []*cli.Verb{&completionVerb, &manVerb}

var completionVerb = cli.Verb{
	Place:  250,
	Name:   "completion",
	Args:   "SHELL",
	Values: Shells,
	Short:  "let a shell complete verbs, flags and their values",
	Long: `Prints the script that lets a shell complete the command lines of peftconv: bash, zsh, fish or powershell. For one
session:

  source <(peftconv completion bash)
  source <(peftconv completion zsh); compdef _peftconv peftconv
  peftconv completion fish | source
  peftconv completion powershell | Out-String | Invoke-Expression

To keep it, put that line into the shell's startup file.`,
	Examples: []string{
		"peftconv completion bash > ~/.local/share/bash-completion/completions/peftconv",
		"peftconv completion fish > ~/.config/fish/completions/peftconv.fish",
	},
	New: func() cli.Command { return new(completionOptions) },
}

type completionOptions struct{ shell string }

func (o *completionOptions) Flags(*pflag.FlagSet) {}

func (o *completionOptions) Validate(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("expected one of %s", strings.Join(Shells, ", "))
	}
	o.shell = args[0]
	return nil
}

func (o *completionOptions) Run(_ context.Context, s cli.Streams) error {
	return Completion(s.Out, o.shell, s.Program)
}

var manVerb = cli.Verb{
	Place:    260,
	Name:     "man",
	Args:     "DIR",
	Short:    "write manual pages",
	Long:     `Writes the manual pages of peftconv and of each of its verbs into the directory DIR, which is made if need be.`,
	Examples: []string{"peftconv man ~/.local/share/man/man1"},
	New:      func() cli.Command { return new(manOptions) },
}

type manOptions struct {
	cli.Output
	dir string
}

func (o *manOptions) Flags(fs *pflag.FlagSet) { o.AddForce(fs) }

func (o *manOptions) Validate(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("expected DIR, found %s", cli.Plural(len(args), "argument"))
	}
	o.dir = args[0]
	return nil
}

func (o *manOptions) Run(_ context.Context, s cli.Streams) error {
	if cli.Exists(o.dir) {
		if err := o.CheckOutput("DIR", filepath.Join(o.dir, s.Program.Name+".1")); err != nil {
			return err
		}
	}
	files, err := WriteMan(o.dir, s.Program)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "%s written into %s\n", cli.Plural(len(files), "page"), filepath.Clean(o.dir))
	return nil
}
