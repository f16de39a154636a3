package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
)

// Program is a program whose first argument is a verb.
type Program struct {
	Name         string
	Verbs        []*Verb // in the order in which help lists them
	Version      string
	Intro, Outro string                 // of the list of verbs
	Help         func(err error) string // what is added to an error, "" for nothing
	Check        func() error           // says after a verb whether its result can be trusted; may be nil
}

// Run executes the arguments and returns the process's exit status. A run whose results could not be written has
// failed; one whose reader has gone away ends, and says nothing.
func (p *Program) Run(ctx context.Context, args []string, s Streams) (status int) {
	interrupted := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &reader{stop: func() {
		cancel()
		s.ending.begin(ExitClosedPipe)
	}}
	out, errs := newOutput("standard output", s.Out, r), newOutput("standard error", s.Err, r)
	errs.safe, errs.short = true, true
	s.Out, s.Err, s.Program = out, errs, p
	s.ending.report(errs, p.nameOf(args))
	defer func() {
		if r := recover(); r != nil {
			status = p.reportPanic(p.nameOf(args), r, s.Err)
		}
	}()
	err := p.dispatch(ctx, args, s)
	lost := out.finish()
	var silent *StatusError
	switch {
	case isClosedPipe(err):
		r.left.Store(true)
	case lost != nil && err == nil:
		err = lost
	case lost != nil && errors.As(err, &silent) && silent.Err == nil:
		err = &StatusError{silent.Status, lost}
	}
	status = p.report(p.nameOf(args), err, s.Err)
	errs.finish()
	if r.left.Load() && interrupted.Err() == nil {
		return ExitClosedPipe
	}
	return status
}

// nameOf is the name of the program with the verb that the arguments have, for messages.
func (p *Program) nameOf(args []string) string {
	if len(args) > 1 && args[0] == "help" && p.Verb(args[1]) != nil {
		args = args[1:]
	}
	if len(args) > 0 && (args[0] == "help" || p.Verb(args[0]) != nil) {
		return p.Name + " " + args[0]
	}
	return p.Name
}

// dispatch does what the arguments say.
func (p *Program) dispatch(ctx context.Context, args []string, s Streams) error {
	if len(args) == 0 {
		p.overview(s.Err)
		return &StatusError{Status: ExitUsage}
	}
	switch args[0] {
	case "help", "--help", "-h":
		return p.help(args[1:], s)
	case "version", "--version", "-v":
		fmt.Fprintln(s.Out, p.Name, p.Version)
		return nil
	}
	v := p.Verb(args[0])
	if v == nil {
		return p.unknownVerb(args[0])
	}
	err := v.Execute(ctx, args[1:], s)
	if err == nil && p.Check != nil {
		err = p.Check()
	}
	return err
}

// Verb is the verb of a name, nil where there is none.
func (p *Program) Verb(name string) *Verb {
	for _, v := range p.Verbs {
		if v.Name == name {
			return v
		}
	}
	return nil
}

func (p *Program) unknownVerb(name string) error {
	names := make([]string, 0, len(p.Verbs)+2)
	for _, v := range p.Verbs {
		names = append(names, v.Name)
	}
	if near := Nearest(name, append(names, "help", "version")); near != "" {
		return Usagef("unknown verb %q; did you mean %q?", name, near)
	}
	return Usagef("unknown verb %q; the verbs are %s", name, strings.Join(names, ", "))
}

// help is "peftconv help [VERB [TOPIC]]".
func (p *Program) help(args []string, s Streams) error {
	if len(args) == 0 {
		p.overview(s.Out)
		return nil
	}
	v := p.Verb(args[0])
	if v == nil {
		return p.unknownVerb(args[0])
	}
	return v.help(s.Out, args[1:])
}

// overview lists the verbs.
func (p *Program) overview(w io.Writer) {
	width := helpWidth(w)
	fmt.Fprint(w, Reflow(p.Intro, width))
	for _, v := range p.Verbs {
		printAside(w, 14, width, "  "+v.Name, v.Short)
	}
	printAside(w, 14, width, "  help", "what a verb does, and its flags; version says which release this is")
	fmt.Fprint(w, Reflow(p.Outro, width))
}

// report prints an error the way every verb does and returns the exit status.
func (p *Program) report(name string, err error, w io.Writer) int {
	var usage UsageError
	var ended *StatusError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &usage):
		fmt.Fprintf(w, "%s: %s\n%s\n", name, ErrorText(err), p.hint(name))
		return ExitUsage
	case errors.Is(err, context.Canceled):
		fmt.Fprintf(w, "%s: interrupted\n", name)
		return ExitInterrupted
	case errors.As(err, &ended):
		if ended.Err != nil {
			p.report(name, ended.Err, w)
		}
		return ended.Status
	}
	fmt.Fprintf(w, "%s: %s%s\n", name, ErrorText(err), p.Help(err))
	return ExitError
}

func (p *Program) hint(name string) string {
	if _, verb, ok := strings.Cut(name, " "); ok && verb != "help" {
		return fmt.Sprintf("See \"%s --help\".", name)
	}
	return fmt.Sprintf("See \"%s help\".", p.Name)
}

// reportPanic reports a bug of ours without a stack trace, unless PEFTCONV_DEBUG is set.
func (p *Program) reportPanic(name string, r any, w io.Writer) int {
	fmt.Fprintf(w,
		"%s: internal error: %v. This is a bug in %s %s: please report it with the command that you ran.\n",
		name, r, p.Name, p.Version)
	if os.Getenv("PEFTCONV_DEBUG") != "" {
		w.Write(debug.Stack())
	}
	return ExitError
}
