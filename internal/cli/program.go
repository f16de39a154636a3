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

// Run executes the arguments and returns the process's exit status.
func (p *Program) Run(ctx context.Context, args []string, s Streams) (status int) {
	name := p.Name
	defer func() {
		if r := recover(); r != nil {
			status = p.reportPanic(name, r, s.Err)
		}
	}()
	if len(args) == 0 {
		p.overview(s.Err)
		return ExitUsage
	}
	switch args[0] {
	case "help", "--help", "-h":
		return p.help(args[1:], s)
	case "version", "--version", "-v":
		fmt.Fprintln(s.Out, p.Name, p.Version)
		return ExitOK
	}
	v := p.Verb(args[0])
	if v == nil {
		return p.report(name, p.unknownVerb(args[0]), s.Err)
	}
	s.Program = p
	name += " " + v.Name
	err := v.Execute(ctx, args[1:], s)
	if err == nil && p.Check != nil {
		err = p.Check()
	}
	return p.report(name, err, s.Err)
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
func (p *Program) help(args []string, s Streams) int {
	if len(args) == 0 {
		p.overview(s.Out)
		return ExitOK
	}
	v := p.Verb(args[0])
	if v == nil {
		return p.report(p.Name+" help", p.unknownVerb(args[0]), s.Err)
	}
	return p.report(p.Name+" "+v.Name, v.help(s.Out, args[1:]), s.Err)
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
		fmt.Fprintf(w, "%s: %v\n%s\n", name, err, p.hint(name))
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
	fmt.Fprintf(w, "%s: %v%s\n", name, err, p.Help(err))
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
