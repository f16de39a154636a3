// Command peftconv fine-tunes quantized GGUF models: it trains adapters over the frozen file, evaluates, merges and
// exports them. "peftconv help" lists the verbs.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/names"
	"github.com/peftconv/peftconv/peft"
)

// verbs are the words that may follow peftconv, by place: the order in which help lists them.
var verbs []*cli.Verb

// register adds a verb. Each verb's file calls it.
func register(v *cli.Verb) {
	verbs = append(verbs, v)
	slices.SortStableFunc(verbs, func(a, b *cli.Verb) int { return a.Place - b.Place })
}

func main() {
	ctx, abort := interruptible(context.Background(), os.Stderr)
	os.Exit(run(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Abort: abort}))
}

// patience is how long a command may take to end after an interruption before it is said what it waits for.
const patience = time.Second / 2

// interruptible is cancelled by the first signal to end, after which what is in work is finished. The second one closes
// abort, and a third ends the program.
func interruptible(parent context.Context, w io.Writer) (ctx context.Context, abort <-chan struct{}) {
	ctx, cancel := context.WithCancel(parent)
	signals, aborted := make(chan os.Signal, 3), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		select {
		case <-signals:
		case <-time.After(patience):
			fmt.Fprintln(w, "\npeftconv: ending: what is in work is finished first; interrupt again to give it up")
			<-signals
		}
		close(aborted)
		signal.Stop(signals)
	}()
	return ctx, aborted
}

// run executes the arguments and returns the process's exit status.
func run(ctx context.Context, args []string, s cli.Streams) (status int) {
	name := "peftconv"
	defer func() {
		if r := recover(); r != nil {
			status = reportPanic(name, r, s.Err)
		}
	}()
	if len(args) == 0 {
		overview(s.Err)
		return cli.ExitUsage
	}
	switch args[0] {
	case "help", "--help", "-h":
		return help(args[1:], s)
	case "version", "--version":
		fmt.Fprintln(s.Out, "peftconv", version())
		return cli.ExitOK
	}
	v := findVerb(args[0])
	if v == nil {
		return reportError(name, unknownVerb(args[0]), s.Err)
	}
	name += " " + v.Name
	return reportError(name, v.Execute(ctx, args[1:], s), s.Err)
}

func findVerb(name string) *cli.Verb {
	for _, v := range verbs {
		if v.Name == name {
			return v
		}
	}
	return nil
}

func unknownVerb(name string) error {
	names := make([]string, 0, len(verbs)+1)
	for _, v := range verbs {
		names = append(names, v.Name)
	}
	if near := cli.Nearest(name, append(names, "help")); near != "" {
		return cli.Usagef("unknown verb %q; did you mean %q?", name, near)
	}
	return cli.Usagef("unknown verb %q; the verbs are %s", name, strings.Join(names, ", "))
}

// help is "peftconv help [VERB]".
func help(args []string, s cli.Streams) int {
	if len(args) == 0 {
		overview(s.Out)
		return cli.ExitOK
	}
	v := findVerb(args[0])
	if v == nil {
		return reportError("peftconv help", unknownVerb(args[0]), s.Err)
	}
	v.Help(s.Out)
	return cli.ExitOK
}

const intro = `peftconv fine-tunes quantized GGUF models, on a CPU, in one program: the model file stays frozen and quantized.

Usage:
  peftconv VERB [flags]

Verbs:
`

const outro = `
In place of a model's path a verb takes its name in another program's folder, where that has downloaded it:
` + names.Help + `.

"peftconv VERB --help" says what a verb does and lists its flags. New here? "peftconv demo" needs nothing.
Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
`

// overview lists the verbs.
func overview(w io.Writer) {
	fmt.Fprint(w, intro)
	for _, v := range verbs {
		fmt.Fprintf(w, "  %-10s %s\n", v.Name, v.Short)
	}
	fmt.Fprintf(w, "  %-10s %s\n", "help", "what a verb does, and its flags")
	fmt.Fprint(w, outro)
}

// release is set by the linker in release builds.
var release string

// version names the release, or else the version of the library.
func version() string {
	if release != "" {
		return release
	}
	return peft.Version
}

// reportError prints an error the way every verb does and returns the exit status.
func reportError(name string, err error, w io.Writer) int {
	var usage cli.UsageError
	var ended *cli.StatusError
	switch {
	case err == nil:
		return cli.ExitOK
	case errors.As(err, &usage):
		fmt.Fprintf(w, "%s: %v\n%s\n", name, err, hint(name))
		return cli.ExitUsage
	case errors.Is(err, context.Canceled):
		fmt.Fprintf(w, "%s: interrupted\n", name)
		return cli.ExitInterrupted
	case errors.As(err, &ended):
		if ended.Err != nil {
			reportError(name, ended.Err, w)
		}
		return ended.Status
	}
	fmt.Fprintf(w, "%s: %v%s\n", name, err, hintOf(err))
	if path := interruptedEdit(err); path != "" {
		fmt.Fprintf(w, "An edit of this file was interrupted: \"%s\" finishes it.\n",
			cli.CommandLine("peftconv", "edit", path))
	}
	return cli.ExitError
}

func hint(name string) string {
	if _, verb, ok := strings.Cut(name, " "); ok && verb != "help" {
		return fmt.Sprintf("See \"%s --help\".", name)
	}
	return "See \"peftconv help\"."
}

// reportPanic reports a bug of ours without a stack trace, unless PEFTCONV_DEBUG is set.
func reportPanic(name string, r any, w io.Writer) int {
	fmt.Fprintf(w,
		"%s: internal error: %v. This is a bug in peftconv %s: please report it with the command that you ran.\n",
		name, r, version())
	if os.Getenv("PEFTCONV_DEBUG") != "" {
		w.Write(debug.Stack())
	}
	return cli.ExitError
}
