// Package watching is what a training run shows of itself: flags, and the observers that they ask for. Each is told the
// same events by the run, and none knows another.
package watching

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/dist"
	"github.com/peftconv/peftconv/internal/live"
	"github.com/peftconv/peftconv/internal/runlog"
	"github.com/peftconv/peftconv/internal/tensorboard"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/train"
)

// Flags are the flags of a run that is watched.
type Flags struct {
	log      string
	noLog    bool
	noReport bool

	tensorboard string // directory

	live       string // address; "" for no page
	liveRemote bool

	prompts      string // file
	sampleEvery  int
	sampleTokens int
}

// Add adds the flags.
func (f *Flags) Add(fs *pflag.FlagSet) {
	fs.StringVar(&f.log, "log", "", "write an object of JSON for each step, evaluation and sample to this `FILE` (default: "+
		"beside --out, NAME.log.jsonl)")
	fs.BoolVar(&f.noLog, "no-log", false, "write no such file")
	fs.BoolVar(&f.noReport, "no-report", false, "write no report of the run beside --out, NAME.report.html")
	fs.StringVar(&f.prompts, "sample-prompts", "", "answer the prompts of this `FILE` before the first step and after the "+
		"last: a prompt a line, or objects with \"prompt\" (.jsonl); over conversations each is a message of the user")
	fs.IntVar(&f.sampleEvery, "sample-every", 0, "answer them every `N` steps too")
	fs.IntVar(&f.sampleTokens, "sample-tokens", 64, "the most `TOKENS` of such an answer")
	fs.StringVar(&f.tensorboard, "tensorboard", "", "write an event file for TensorBoard into this `DIRECTORY`")
	fs.StringVar(&f.live, "live", "", "show the run on a page for a browser on this machine, and print its address; "+
		"--live=`ADDRESS` for one such as 127.0.0.1:8080")
	fs.Lookup("live").NoOptDefVal = anyPort
	fs.BoolVar(&f.liveRemote, "live-remote", false, "let --live take an address that other machines can connect to, "+
		"over an unencrypted connection")
	cli.Detail(fs, "log", "no-log", "no-report", "sample-tokens", "live-remote")
}

// Check checks the values.
func (f *Flags) Check() error {
	switch {
	case f.log != "" && f.noLog:
		return errors.New("--log and --no-log: one of them, not both")
	case f.liveRemote && f.live == "":
		return errors.New("--live-remote: needs --live")
	case f.sampleEvery < 0:
		return fmt.Errorf("--sample-every: %d, expected 0 or more", f.sampleEvery)
	case f.sampleEvery > 0 && f.prompts == "":
		return errors.New("--sample-every: needs --sample-prompts")
	case f.sampleTokens < 1:
		return fmt.Errorf("--sample-tokens: %d, expected 1 or more", f.sampleTokens)
	}
	return nil
}

// Inputs are the files that are read.
func (f *Flags) Inputs() []string { return []string{f.prompts} }

// Reports says whether a report is written after the run.
func (f *Flags) Reports() bool { return !f.noReport }

// LogPath is where the log is written, "" for none.
func (f *Flags) LogPath(out string) string {
	switch {
	case f.noLog:
		return ""
	case f.log != "":
		return f.log
	}
	return runlog.Path(out)
}

// CheckFiles checks what is written. out is the adapter, inputs what must not be replaced. The log of a run that left
// neither an adapter nor a checkpoint is no reason not to begin: it is moved aside.
func (f *Flags) CheckFiles(o *cli.Output, out string, resumed bool, inputs ...string) error {
	if err := f.checkEvents(o, resumed); err != nil {
		return err
	}
	path := f.LogPath(out)
	if path == "" {
		return nil
	}
	if resumed || runlog.IsLog(path) && !cli.Exists(out) {
		o = &cli.Output{Force: true}
	}
	flag := "--out"
	if f.log != "" {
		flag = "--log"
	}
	return o.CheckOutput(flag, path, append(inputs, out)...)
}

// checkEvents refuses to add a new run to the events of another: TensorBoard would show both as one.
func (f *Flags) checkEvents(o *cli.Output, resumed bool) error {
	if f.tensorboard == "" {
		return nil
	}
	has, err := tensorboard.Has(f.tensorboard)
	switch {
	case err != nil:
		return fmt.Errorf("--tensorboard: %w", err)
	case has && !resumed && !o.Force:
		return fmt.Errorf("--tensorboard: %s has the events of another run: choose another directory, or --force to add to "+
			"them", f.tensorboard)
	}
	return nil
}

// Run is a run that is watched.
type Run struct {
	Base    *peft.Base
	Adapter *peft.Adapter
	Data    *peft.Data
	Held    *peft.Data // what is measured
	// Held is a sample of the training data.
	HeldIsSample bool
	Files        []string // of the data
	HeldFiles    []string
	Version      string
	Options      *train.Options   // of the library, which Start completes
	Replace      bool             // what is there already
	Chat         peft.ChatOptions // of conversations
}

// Watch is the watching of a run.
type Watch struct {
	page     *live.Server        // or nil
	events   *tensorboard.Writer // or nil
	log      *runlog.File
	terminal *terminal
}

// Start completes the options of a run by its observers and what they ask for.
func (f *Flags) Start(s cli.Streams, r *Run) (*Watch, error) {
	w := &Watch{terminal: newTerminal(s.Err, r.HeldIsSample)}
	o := r.Options
	prompts, err := f.readPrompts()
	if err != nil {
		return nil, err
	}
	if len(prompts) > 0 && r.Adapter.Classifies() {
		return nil, errors.New("--sample-prompts: this adapter classifies, and generates nothing")
	}
	if len(prompts) > 0 || f.live != "" && !r.Adapter.Classifies() {
		o.Samples = &train.Samples{Prompts: prompts, Every: f.sampleEvery, Generate: f.answer(r)}
	}
	recorder := &runlog.Recorder{About: r.about(prompts)}
	if path := f.LogPath(o.Out); path != "" {
		w.log = &runlog.File{Path: path, Move: !r.Replace, Failed: func(err error) {
			w.terminal.say("warning: %s", cli.ErrorText(err))
		}}
		recorder.File = w.log
		if o.Resume == "" && !r.Replace && cli.Exists(path) {
			fmt.Fprintf(s.Err, "note: the log of a run that left no adapter is moved to %s\n", runlog.OldPath(path))
		}
	}
	if f.live != "" {
		if err := f.serve(r, w); err != nil {
			return nil, fmt.Errorf("--live: %w", err)
		}
		fmt.Fprintf(s.Err, "page     %s\n", w.page.URL())
		recorder.Lines = append(recorder.Lines, w.page.Line)
	}
	all := train.Observers{recorder}
	if f.tensorboard != "" {
		w.events = &tensorboard.Writer{Dir: f.tensorboard, Text: r.markdown(), Failed: func(err error) {
			w.terminal.say("warning: %s", cli.ErrorText(err))
		}}
		all = append(all, w.events)
	}
	o.Observer = append(all, w.terminal)
	return w, nil
}

// machine is what the log says of the processor, and of the ranks of a run that several share.
func machine() string {
	text := fmt.Sprintf("%s/%s, %s, %s", runtime.GOOS, runtime.GOARCH, kernels.Tier(),
		cli.Plural(kernels.Threads(), "thread"))
	if w := dist.Now(); w.Size() > 1 {
		text += ", " + cli.Plural(w.Size(), "rank")
	}
	return text
}

// about is what the log says of the run.
func (r *Run) about(prompts []string) runlog.About {
	o := r.Options
	return runlog.About{
		Version: r.Version, Command: os.Args[1:], Base: r.Base.Path(), BaseBytes: cli.PathSize(r.Base.Path()),
		Machine:      machine(),
		Architecture: r.Base.Architecture(), Adapter: r.Adapter.Describe(), Out: o.Out,
		Data: dataOf(r.Data, r.Files, false), Evaluation: dataOf(r.Held, r.HeldFiles, r.HeldIsSample),
		Schedule: o.Schedule, BatchTokens: o.BatchTokens, Seed: o.Seed, SaveEvery: o.SaveEvery,
		EvalEvery: o.EvalEvery, Prompts: prompts,
	}
}

// markdown is what TensorBoard says of the run.
func (r *Run) markdown() string {
	o := r.Options
	return fmt.Sprintf("| | |\n|---|---|\n| adapter | %s |\n| base | %s, %s |\n| data | %s, %s |\n"+
		"| learning rate | %g, %s |\n| batch | %s |\n| seed | %d |\n| version | %s |\n", r.Adapter.Describe(),
		cli.Name(filepath.Base(r.Base.Path())), r.Base.Architecture(), cli.Plural(r.Data.Len(), "example"),
		cli.Plural(r.Data.Tokens(), "token"), o.LR, o.Schedule,
		cli.Plural(o.BatchTokens, "token"), o.Seed, r.Version)
}

// dataOf is data in numbers, nil of none.
func dataOf(d *peft.Data, files []string, sample bool) *runlog.Data {
	if d == nil {
		return nil
	}
	return &runlog.Data{
		Files: files, Examples: d.Len(), Tokens: d.Tokens(), TokensWithLoss: d.Targets(), Sample: sample,
		Lengths: runlog.LengthsOf(d.Len(), d.Size),
	}
}

// Say prints a line that stays above a bar.
func (w *Watch) Say(line string) { w.terminal.say("%s", line) }

// StopDisplay ends the bar and the page of a run that ended with an error or without; what follows on the terminal is
// the result. It may be called twice, from any goroutine.
func (w *Watch) StopDisplay(err error) {
	w.terminal.stop()
	if w.page != nil {
		w.page.Close(ending(err))
	}
}

// Stop ends the watching, once the run has returned with an error or without.
func (w *Watch) Stop(err error) {
	w.StopDisplay(err)
	if w.log != nil {
		w.log.Close()
	}
	if w.events != nil {
		w.events.Close()
	}
}
