package cli

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/train"
)

// commandLine is a verb's flags while they are read, with what all verbs have in common.
type commandLine struct {
	fs             *pflag.FlagSet
	config         string   // a file with flags
	quiet, verbose bool     // how much is said
	notes          []string // what is to be said of the flags
}

// addCommon adds the flags that every verb has, and --config.
func (p *commandLine) addCommon(config bool) {
	if config {
		p.fs.StringVarP(&p.config, "config", "c", "", "read flags from a YAML `FILE`, as train writes one beside the adapter; "+
			"- is standard input; keys of other programs' files are known too; flags of the command line win")
	}
	p.fs.BoolVarP(&p.quiet, "quiet", "q", false, "print results, warnings and errors only")
	p.fs.BoolVarP(&p.verbose, "verbose", "v", false, "also print the flags that are set, and the time and memory used")
}

// parse reads the command line and the configuration file.
func (p *commandLine) parse(args []string, stdin io.Reader) error {
	if err := p.fs.Parse(joinSwitches(p.fs, args)); err != nil {
		return flagError(p.fs, err)
	}
	if p.quiet && p.verbose {
		return Usagef("--quiet and --verbose: one of them, not both")
	}
	if p.config != "" {
		if err := p.readConfig(stdin); err != nil {
			return err
		}
	}
	if err := checkWords(p.fs); err != nil {
		return err
	}
	return checkRequired(p.fs)
}

// streams are those of the run: what --quiet leaves of them.
func (p *commandLine) streams(s Streams) Streams {
	if p.quiet {
		s.Always = s.Err
		s.Err = &quietWriter{w: s.Err}
	}
	return s
}

// run runs the verb and says with --verbose what it ran with and what it took.
func (p *commandLine) run(f func() error, s Streams) error {
	if !p.verbose {
		return f()
	}
	Given(p.fs, func(flag *pflag.Flag) { fmt.Fprintf(s.Err, "flag     --%s %s\n", flag.Name, flagText(flag)) })
	fmt.Fprintf(s.Err, "machine  %s/%s, kernels for %s\n", runtime.GOOS, runtime.GOARCH, kernels.Tier())
	start := time.Now()
	err := f()
	fmt.Fprintf(s.Err, "took     %.1f s with %s, peak memory %s\n", time.Since(start).Seconds(),
		Plural(kernels.Threads(), "thread"), BytesText(train.PeakRSS()))
	return err
}

// flagText is a flag's value as a command line has it.
func flagText(f *pflag.Flag) string {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return strings.Join(list.GetSlice(), ",")
	}
	return f.Value.String()
}

// quietWriter passes on only lines with warnings.
type quietWriter struct {
	mu   sync.Mutex
	w    io.Writer
	line []byte
}

// Write implements io.Writer.
func (q *quietWriter) Write(b []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.line = append(q.line, b...)
	for {
		i := bytes.IndexByte(q.line, '\n')
		if i < 0 {
			return len(b), nil
		}
		if bytes.HasPrefix(q.line, []byte("warning:")) {
			if _, err := q.w.Write(q.line[:i+1]); err != nil {
				return 0, err
			}
		}
		q.line = append(q.line[:0], q.line[i+1:]...)
	}
}
