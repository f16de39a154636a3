// Package cli is what the verbs of the command have in common: how a verb describes itself and its flags, help, errors
// and exit statuses, progress on a terminal, and texts for people.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/internal/mapped"
)

// Exit statuses of the program.
const (
	ExitOK          = 0
	ExitError       = 1
	ExitUsage       = 2
	ExitInterrupted = 130 // what shells give a program ended by Ctrl-C
	ExitClosedPipe  = 141 // what they give one that writes to a pipe that nobody reads any more
)

// Verb is one word after peftconv. Its texts are its reference.
type Verb struct {
	Place    int // in the list of verbs; verbs stand in steps of ten
	Name     string
	Args     string   // the positional arguments as help shows them: "FILE"
	Values   []string // what the first positional argument can be, for completion; nil: files
	Models   int      // as many of the first arguments are models, by path or by name (see Models)
	Short    string   // one line, for the list of verbs
	Long     string   // what it does, after the usage line
	Examples []string // whole commands
	Topics   []Topic  // parts of the flags that help shows alone
	Config   bool     // its flags can stand in a file, --config
	Lean     bool     // its memory follows the size of a header or an adapter: garbage is collected early
	Shared   bool     // several ranks of an MPI launcher run it together (internal/dist)
	New      func() Command
}

// leanPercent is by how much the memory of a lean verb may grow before its garbage is collected.
const leanPercent = 20

// Command is a verb's options and what it does with them.
type Command interface {
	Flags(fs *pflag.FlagSet)
	// Validate checks the positional arguments and the flags' values. Its errors are usage errors, but for those of files.
	Validate(args []string) error
	Run(ctx context.Context, s Streams) error
}

// Execute parses the arguments and runs the verb.
func (v *Verb) Execute(ctx context.Context, args []string, s Streams) (err error) {
	defer mapped.Guard(&err)()
	c := v.New()
	p := v.flags(c)
	if err := p.parse(args, s.In); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return v.help(s.Out, helpTopic(args))
		}
		return err
	}
	w, err := v.join()
	if err == nil {
		err = useThreads(p.fs, w)
	}
	if err != nil {
		return err
	}
	s = p.streams(s)
	return amongRanks(w, s, func(s Streams) error { return v.run(ctx, c, p, s) })
}

// run runs the verb with its flags.
func (v *Verb) run(ctx context.Context, c Command, p *commandLine, s Streams) error {
	for _, note := range p.notes {
		fmt.Fprintf(s.Err, "note: %s\n", note)
	}
	args, err := v.resolveModels(p.fs)
	if err != nil {
		return err
	}
	if err := c.Validate(args); err != nil {
		return usageUnlessOfFile(err)
	}
	if v.Lean && os.Getenv("GOGC") == "" {
		defer debug.SetGCPercent(debug.SetGCPercent(leanPercent))
	}
	return p.run(func() error { return c.Run(ctx, s) }, s)
}

// helpTopic is what follows --help.
func helpTopic(args []string) []string {
	for i, arg := range args {
		if topic, ok := strings.CutPrefix(arg, "--help="); ok {
			return []string{topic}
		}
		if (arg == "--help" || arg == "-h") && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			return args[i+1 : i+2]
		}
	}
	return nil
}

// FlagSet is the flags of the verb's options, with those that all verbs have.
func (v *Verb) FlagSet(c Command) *pflag.FlagSet { return v.flags(c).fs }

// flags makes the flags of the verb's options.
func (v *Verb) flags(c Command) *commandLine {
	p := &commandLine{fs: pflag.NewFlagSet(v.Name, pflag.ContinueOnError)}
	p.fs.SortFlags = false
	p.fs.Usage = func() {}
	c.Flags(p.fs)
	Group(p.fs, "General", func() { p.addCommon(v.Config) })
	AddWords(v.Name, p.fs, &p.notes)
	return p
}

// usageUnlessOfFile is a usage error, unless it says of a file that it is not there or cannot be read: the command line
// is right then.
func usageUnlessOfFile(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return err
	}
	return UsageError{err}
}

// UsageError is a command line that cannot be understood, or asks for what makes no sense whatever files there are:
// exit status 2. That an input is missing or wrong, or an output is there already, is no usage error.
type UsageError struct{ error }

// Unwrap is what is wrong with the command line.
func (e UsageError) Unwrap() error { return e.error }

// StatusError ends the program with a status of its own. Without an error there is nothing to say: the result was
// printed.
type StatusError struct {
	Status int
	Err    error
}

// Error implements error.
func (e *StatusError) Error() string { return fmt.Sprintf("exit status %d: %v", e.Status, e.Err) }

// Unwrap is the error that ended the program, nil where there is none.
func (e *StatusError) Unwrap() error { return e.Err }

// Usagef is a usage error with this text.
func Usagef(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// flagError says what is wrong with a flag and suggests the nearest name for a misspelled one.
func flagError(fs *pflag.FlagSet, err error) error {
	var refused errWord
	var invalid *pflag.InvalidValueError
	if errors.As(err, &refused) && errors.As(err, &invalid) {
		return Usagef("--%s: %w", invalid.GetFlag().Name, refused)
	}
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return UsageError{err}
	}
	if name := strings.TrimLeft(unknown.GetSpecifiedShortnames(), "-"); len(name) > 1 && fs.Lookup(name) != nil {
		return Usagef("%w; did you mean --%s?", err, name)
	}
	if near := nearestFlag(fs, unknown.GetSpecifiedName()); near != "" {
		return Usagef("%w; did you mean --%s?", err, near)
	}
	return UsageError{err}
}

// nearestFlag is the flag that a misspelled name most likely stands for, one of the verb's own before another program's
// word; "" for none.
func nearestFlag(fs *pflag.FlagSet, name string) string {
	names, others := []string{"help"}, []string(nil)
	fs.VisitAll(func(f *pflag.Flag) {
		if isWord(f) {
			others = append(others, f.Name)
		} else {
			names = append(names, f.Name)
		}
	})
	if near := Nearest(name, names); near != "" {
		return near
	}
	return Nearest(name, others)
}

// NoArgs is the check of verbs that take flags only.
func NoArgs(args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q: this verb takes flags only, and the values of a list are "+
			"separated by commas", args[0])
	}
	return nil
}

// Nearest is the candidate that a misspelled word most likely stands for, or "".
func Nearest(word string, candidates []string) string {
	best, distance := "", 3
	for _, c := range candidates {
		if len(word) >= 3 && strings.HasPrefix(c, word) {
			return c
		}
		if d := editDistance(word, c); d < distance && d < len(c) {
			best, distance = c, d
		}
	}
	return best
}

// editDistance is the number of insertions, deletions and replacements that turn a into b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// Streams are the standard streams of a run; tests put buffers there.
type Streams struct {
	In  io.Reader
	Out io.Writer // results
	Err io.Writer // progress, warnings, errors
	// Program is the one that runs, for verbs that describe it.
	Program *Program
	// Always is Err even where --quiet leaves progress out; nil: it is the same.
	Always io.Writer

	ending *ending // of the process; nil where the verb is run within another program
}

// ReadFile reads a file, or standard input where its name is "-".
func (s Streams) ReadFile(path string) ([]byte, error) {
	if path == "-" {
		return infile.ReadFrom(s.In, "standard input", infile.Text)
	}
	return infile.ReadStream(path, infile.Text)
}

// IsFinite says whether x is neither NaN nor infinite.
func IsFinite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
