package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/pflag"
)

// Exit statuses of the program.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitInterrupted = 130 // what shells give a program ended by Ctrl-C
)

// verb is one word after peftconv. Its texts are its reference.
type verb struct {
	name     string
	args     string   // the positional arguments as help shows them: "FILE"
	short    string   // one line, for the list of verbs
	long     string   // what it does, after the usage line
	examples []string // whole commands
	new      func() command
}

// command is a verb's options and what it does with them.
type command interface {
	flags(fs *pflag.FlagSet)
	validate(args []string) error // the positional arguments and the flags' values; errors are usage errors
	run(ctx context.Context, s streams) error
}

// execute parses the arguments and runs the verb.
func (v *verb) execute(ctx context.Context, args []string, s streams) error {
	c := v.new()
	fs := v.flagSet(c)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			v.help(s.out)
			return nil
		}
		return flagError(fs, err)
	}
	if err := checkRequired(fs); err != nil {
		return err
	}
	if err := c.validate(fs.Args()); err != nil {
		return usageError{err}
	}
	return c.run(ctx, s)
}

func (v *verb) flagSet(c command) *pflag.FlagSet {
	fs := pflag.NewFlagSet(v.name, pflag.ContinueOnError)
	fs.SortFlags = false
	fs.Usage = func() {}
	c.flags(fs)
	return fs
}

// usageError is a command line that cannot be understood: exit status 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// statusError ends the program with a status of its own. Without an error there is nothing to say: the result was
// printed.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return fmt.Sprintf("exit status %d: %v", e.status, e.err) }

func (e *statusError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// flagError says what is wrong with a flag and, where one is spelled nearly right, which was meant.
func flagError(fs *pflag.FlagSet, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return usageError{err}
	}
	names := []string{"help"}
	fs.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near := nearest(unknown.GetSpecifiedName(), names); near != "" {
		return usagef("%w; did you mean --%s?", err, near)
	}
	return usageError{err}
}

// report prints an error the way every verb does and returns the exit status.
func report(name string, err error, w io.Writer) int {
	var usage usageError
	var ended *statusError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(w, "%s: %v\n%s\n", name, err, hint(name))
		return exitUsage
	case errors.Is(err, context.Canceled):
		fmt.Fprintf(w, "%s: interrupted\n", name)
		return exitInterrupted
	case errors.As(err, &ended):
		if ended.err != nil {
			report(name, ended.err, w)
		}
		return ended.status
	}
	fmt.Fprintf(w, "%s: %v\n", name, err)
	if path := interruptedEdit(err); path != "" {
		fmt.Fprintf(w, "An edit of this file was interrupted: \"%s\" finishes it.\n", commandLine("peftconv", "edit", path))
	}
	return exitError
}

func hint(name string) string {
	if _, verb, ok := strings.Cut(name, " "); ok && verb != "help" {
		return fmt.Sprintf("See \"%s --help\".", name)
	}
	return "See \"peftconv help\"."
}

// reportPanic tells a user about a bug of ours without a stack trace, which PEFTCONV_DEBUG brings back.
func reportPanic(name string, r any, w io.Writer) int {
	fmt.Fprintf(w, "%s: internal error: %v. This is a bug in peftconv %s: please report it with the command that you ran.\n",
		name, r, version())
	if os.Getenv("PEFTCONV_DEBUG") != "" {
		w.Write(debug.Stack())
	}
	return exitError
}

// noArgs is the check of verbs that take flags only.
func noArgs(args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected argument %q: this verb takes flags only", args[0])
	}
	return nil
}

// nearest is the candidate that a misspelled word most likely stands for, or "".
func nearest(word string, candidates []string) string {
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
