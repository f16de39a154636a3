package main

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
)

// runArgs runs the program in this process.
func runArgs(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	status = run(t.Context(), args, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &err})
	return status, out.String(), err.String()
}

// want runs the program and checks its exit status.
func want(t *testing.T, status int, args ...string) (stdout, stderr string) {
	t.Helper()
	got, stdout, stderr := runArgs(t, args...)
	if got != status {
		t.Fatalf("peftconv %s: exit status %d, want %d\nstdout: %s\nstderr: %s", strings.Join(args, " "), got, status, stdout,
			stderr)
	}
	return stdout, stderr
}

func TestOverview(t *testing.T) {
	_, shown := want(t, cli.ExitUsage)
	for _, args := range [][]string{{"help"}, {"--help"}, {"-h"}} {
		out, _ := want(t, cli.ExitOK, args...)
		if out != shown {
			t.Errorf("%v and no arguments show different texts", args)
		}
	}
	for _, v := range verbs {
		if !strings.Contains(shown, "\n  "+v.Name) {
			t.Errorf("the overview does not list %s", v.Name)
		}
	}
}

func TestVersion(t *testing.T) {
	if out, _ := want(t, cli.ExitOK, "--version"); !strings.HasPrefix(out, "peftconv ") {
		t.Errorf("--version prints %q", out)
	}
}

// TestHelpTexts checks every verb's reference: each flag has a text, each value a unit.
func TestHelpTexts(t *testing.T) {
	for _, v := range verbs {
		t.Run(v.Name, func(t *testing.T) {
			out, _ := want(t, cli.ExitOK, v.Name, "--help")
			if again, _ := want(t, cli.ExitOK, "help", v.Name); again != out {
				t.Error("help VERB and VERB --help differ")
			}
			for _, part := range []string{"Usage:\n  peftconv " + v.Name, "\nExamples:\n  peftconv " + v.Name} {
				if !strings.Contains(out, part) {
					t.Errorf("no %q in\n%s", part, out)
				}
			}
			v.FlagSet(v.New()).VisitAll(func(f *pflag.Flag) { checkFlagText(t, f) })
			for line := range strings.Lines(out) {
				if n := len([]rune(strings.TrimRight(line, "\n"))); n > cli.HelpWidth+15 {
					t.Errorf("line of %d columns: %s", n, line)
				}
			}
		})
	}
}

func checkFlagText(t *testing.T, f *pflag.Flag) {
	unit, text := pflag.UnquoteUsage(f)
	if text == "" {
		t.Errorf("--%s has no text", f.Name)
	}
	generic := []string{"string", "int", "uint", "float", "strings", "stringArray"}
	if f.Value.Type() != "bool" && slices.Contains(generic, unit) {
		t.Errorf("--%s names no unit for its value", f.Name)
	}
}

func TestUnknownVerb(t *testing.T) {
	for _, c := range []struct{ verb, hint string }{
		{"hlep", `did you mean "help"?`},
		{"zzz", "the verbs are"},
	} {
		_, stderr := want(t, cli.ExitUsage, c.verb)
		if !strings.Contains(stderr, c.hint) {
			t.Errorf("%s: %q lacks %q", c.verb, stderr, c.hint)
		}
	}
}

// probe is a verb whose run is the test's.
type probe struct {
	size int
	do   func(ctx context.Context) error
}

func (p *probe) Flags(fs *pflag.FlagSet) {
	fs.IntVar(&p.size, "size", 3, "`BYTES` to probe")
	cli.Require(fs, "size")
}
func (p *probe) Validate(args []string) error {
	if p.size < 0 {
		return errors.New("--size: must not be negative")
	}
	return cli.NoArgs(args)
}
func (p *probe) Run(ctx context.Context, _ cli.Streams) error { return p.do(ctx) }

// withProbe adds a verb "probe" for the time of a test.
func withProbe(t *testing.T, do func(ctx context.Context) error) {
	old := verbs
	t.Cleanup(func() { verbs = old })
	verbs = append([]*cli.Verb{{Name: "probe", New: func() cli.Command { return &probe{do: do} }}}, old...)
}

func TestUsageErrors(t *testing.T) {
	withProbe(t, func(context.Context) error { return nil })
	for _, c := range []struct{ args, message string }{
		{"probe", "missing required flag --size"},
		{"probe --sise 1", "unknown flag: --sise; did you mean --size?"},
		{"probe --size x", "size"},
		{"probe --size", "size"},
		{"probe --size -1", "--size: must not be negative"},
		{"probe --size 1 more", `unexpected argument "more"`},
		{"prob --size 1", `did you mean "probe"?`},
	} {
		_, stderr := want(t, cli.ExitUsage, strings.Fields(c.args)...)
		if !strings.Contains(stderr, c.message) || !strings.HasPrefix(stderr, "peftconv") {
			t.Errorf("%s: stderr %q lacks %q", c.args, stderr, c.message)
		}
	}
	want(t, cli.ExitOK, "probe", "--size", "1")
}

func TestPanicIsReportedInOneLine(t *testing.T) {
	withProbe(t, func(context.Context) error { panic("quant: rows of different length") })
	t.Setenv("PEFTCONV_DEBUG", "")
	_, stderr := want(t, cli.ExitError, "probe", "--size", "1")
	if strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "rows of different length") ||
		!strings.Contains(stderr, "report") {
		t.Errorf("a panic shows as %q", stderr)
	}
	t.Setenv("PEFTCONV_DEBUG", "1")
	if _, stderr = want(t, cli.ExitError, "probe", "--size", "1"); !strings.Contains(stderr, "goroutine") {
		t.Errorf("with PEFTCONV_DEBUG a panic shows no stack: %q", stderr)
	}
}

func TestErrorsAndInterrupts(t *testing.T) {
	withProbe(t, func(context.Context) error { return errors.New("x.gguf: bad magic") })
	if _, stderr := want(t, cli.ExitError, "probe", "--size", "1"); stderr != "peftconv probe: x.gguf: bad magic\n" {
		t.Errorf("stderr %q", stderr)
	}
	withProbe(t, func(context.Context) error { return context.Canceled })
	want(t, cli.ExitInterrupted, "probe", "--size", "1")
}
