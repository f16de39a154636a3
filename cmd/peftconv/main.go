// Command peftconv fine-tunes quantized GGUF models: it trains adapters over the frozen file, evaluates, merges and
// exports them. "peftconv help" lists the verbs.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/files"
	"github.com/peftconv/peftconv/internal/cli/shell"
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
	atomicfile.Check, checkInputs = mapped.Changed, mapped.ChangedBefore
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

// checkInputs says whether a file that was read changed meanwhile. In tests, which share a process, nobody asks.
var checkInputs func() error

// run executes the arguments and returns the process's exit status.
func run(ctx context.Context, args []string, s cli.Streams) int {
	p := cli.Program{Name: "peftconv", Verbs: verbs, Version: version(), Intro: intro, Outro: outro, Help: helpOf,
		Check: checkInputs}
	return p.Run(ctx, args, s)
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

// release is set by the linker in release builds.
var release string

// version names the release, or else the version of the library.
func version() string {
	if release != "" {
		return release
	}
	return peft.Version
}
