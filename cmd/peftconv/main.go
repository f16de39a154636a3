// Command peftconv fine-tunes quantized GGUF models: it trains adapters over the frozen file, evaluates, merges and
// exports them. "peftconv help" lists the verbs.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/peftconv/peftconv/peft"
)

// verbs are the words that may follow peftconv, in the order in which help lists them.
var verbs = []*verb{
	&demoVerb, &trainVerb, &compareVerb, &evalVerb, &generateVerb, &mergeVerb, &exportVerb, &combineVerb, &extractVerb, &resizeVerb, &quantizeVerb,
	&imatrixVerb, &inspectVerb, &splitVerb, &joinVerb, &editVerb, &verifyVerb, &diffVerb, &benchVerb,
}

// streams are the standard streams of a run; tests put buffers there.
type streams struct {
	in  io.Reader
	out io.Writer // results
	err io.Writer // progress, warnings, errors
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() { // the first signal ends the work in order; from then on a signal kills
		<-ctx.Done()
		stop()
	}()
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// run does what the arguments say and returns the process's exit status.
func run(ctx context.Context, args []string, s streams) (status int) {
	name := "peftconv"
	defer func() {
		if r := recover(); r != nil {
			status = reportPanic(name, r, s.err)
		}
	}()
	if len(args) == 0 {
		overview(s.err)
		return exitUsage
	}
	switch args[0] {
	case "help", "--help", "-h":
		return help(args[1:], s)
	case "version", "--version":
		fmt.Fprintln(s.out, "peftconv", version())
		return exitOK
	}
	v := findVerb(args[0])
	if v == nil {
		return report(name, unknownVerb(args[0]), s.err)
	}
	name += " " + v.name
	return report(name, v.execute(ctx, args[1:], s), s.err)
}

func findVerb(name string) *verb {
	for _, v := range verbs {
		if v.name == name {
			return v
		}
	}
	return nil
}

func unknownVerb(name string) error {
	names := make([]string, 0, len(verbs)+1)
	for _, v := range verbs {
		names = append(names, v.name)
	}
	if near := nearest(name, append(names, "help")); near != "" {
		return usagef("unknown verb %q; did you mean %q?", name, near)
	}
	return usagef("unknown verb %q; the verbs are %s", name, strings.Join(names, ", "))
}

// help is "peftconv help [VERB]".
func help(args []string, s streams) int {
	if len(args) == 0 {
		overview(s.out)
		return exitOK
	}
	v := findVerb(args[0])
	if v == nil {
		return report("peftconv help", unknownVerb(args[0]), s.err)
	}
	v.help(s.out)
	return exitOK
}

const intro = `peftconv fine-tunes quantized GGUF models, on a CPU, in one program: the model file stays frozen and quantized.

Usage:
  peftconv VERB [flags]

Verbs:
`

const outro = `
"peftconv VERB --help" says what a verb does and lists its flags. New here? "peftconv demo" needs nothing.
Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
`

// overview lists the verbs.
func overview(w io.Writer) {
	fmt.Fprint(w, intro)
	for _, v := range verbs {
		fmt.Fprintf(w, "  %-10s %s\n", v.name, v.short)
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
