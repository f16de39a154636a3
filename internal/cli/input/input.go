// Package input has the flags of the verbs that read data, and reads it as they say.
package input

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/dataset"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/internal/records"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/search"
)

// Kinds says what the flags that name data take.
const Kinds = "text (.txt) or records (.jsonl, .json, .csv, .tsv, .parquet), plain or compressed (.gz, .zst), " +
	"a directory with train, valid and test files, or - for standard input"

// SampledTokens is how much of the training data is evaluated where there is no evaluation data.
const SampledTokens = 4096

// Data are the flags of verbs that read examples.
type Data struct {
	conversations

	SeqLen    int
	hasSeqLen func() bool // it was given
	Labels    []string
	Sources   []peft.DataSource // of --data of the verbs that train, complete after Check
	EvalData  string            // --eval-data of the verbs that train
	In        io.Reader         // standard input; nil: that of the process
	Err       io.Writer         // shows how far reading large files has come; nil: nothing does
	Stop      func() error      // an error of it ends reading, as that of a context does; nil: nothing does

	textField, promptField, completionField string
	separator                               string
	hasSeparator                            func() bool // it was given
	task, labelField                        string
	overflow, format                        string
	data                                    []string
	evalSplit                               float64
	keepCache                               bool
}

// Add adds the flags that say how files become examples.
func (d *Data) Add(fs *pflag.FlagSet) {
	fs.IntVar(&d.SeqLen, "seq-len", 512,
		"the most `TOKENS` of one example, by default no more than the model was made for: text is cut into pieces of this "+
			"length, longer examples are cut off")
	d.hasSeqLen = func() bool { return fs.Changed("seq-len") }
	fs.StringVar(&d.overflow, "overflow", "",
		"what becomes of records longer than --seq-len, `HOW` of cut, split (into several examples), drop and error "+
			"(default: texts are split, others cut)")
	fs.StringVar(&d.textField, "text-field", "", "`NAME` of the field that holds a whole text (default: text)")
	fs.StringVar(&d.promptField, "prompt-field", "",
		"`NAME` of the field that holds the prompt (default: prompt, or question)")
	fs.StringVar(&d.completionField, "completion-field", "",
		"`NAME` of the field that holds the completion (default: completion, or answer)")
	fs.StringVar(&d.separator, "separator", "",
		"`TEXT` between prompt and completion, \\n for a new line (default: nothing for fields called prompt and "+
			"completion, a new line for all others)")
	d.hasSeparator = func() bool { return fs.Changed("separator") }
	fs.StringVar(&d.task, "task", "",
		"`TASK` classify: the records have a text (text, prompt or question) and a label to predict")
	fs.StringSliceVar(&d.Labels, "labels", nil, "the possible labels for --task classify: `LABELS` separated by commas")
	fs.StringVar(&d.labelField, "label-field", "label", "`NAME` of the field that holds the label")
	d.conversations.add(fs)
	d.AddFormat(fs)
	cli.Choices(fs, "overflow", dataset.Overflows()...)
	cli.Detail(fs, "text-field", "prompt-field", "completion-field", "separator", "task", "labels", "label-field")
}

// AddFormat adds --file-format alone, for verbs that read texts.
func (d *Data) AddFormat(fs *pflag.FlagSet) {
	fs.StringVar(&d.format, "file-format", "", "`FORMAT` of files whose names do not tell, and of standard input: "+
		strings.Join(records.Formats(), ", "))
	cli.Choices(fs, "file-format", records.Formats()...)
	cli.Detail(fs, "file-format")
}

// AddTraining adds the flags that name what is learned and what is measured.
func (d *Data) AddTraining(fs *pflag.FlagSet) {
	fs.StringArrayVarP(&d.data, "data", "d", nil, "the training data, a `FILE` or FILE:WEIGHT: "+Kinds+
		"; may be repeated, with weights as shares of the examples of an epoch")
	fs.StringVar(&d.EvalData, "eval-data", "", "a held-out `FILE` of the same kinds, to measure the loss on (default: the "+
		"valid files of a directory, or else a sample of --data)")
	fs.Float64Var(&d.evalSplit, "eval-split", 0, "hold a `SHARE` of the records of --data back to measure the loss on, "+
		"such as 0.05; a record's content decides, so that it is always in the same part")
}

// AddCache adds the flag that keeps token ids.
func (d *Data) AddCache(fs *pflag.FlagSet) {
	fs.BoolVar(&d.keepCache, "keep-cache", false,
		"keep the token ids of the data in a file beside --out, which later runs over the same data read")
}

// Classes are what records are classified into, by words; nil where they are not.
func (d *Data) Classes() *peft.Classes {
	if d.task == "" {
		return nil
	}
	return &peft.Classes{Labels: d.Labels, Field: d.labelField, Words: true}
}

// Check reports flags that make no sense.
func (d *Data) Check() error {
	switch {
	case d.SeqLen < 2:
		return fmt.Errorf("--seq-len: %d, expected 2 tokens or more", d.SeqLen)
	case d.overflow != "" && !slices.Contains(dataset.Overflows(), d.overflow):
		return fmt.Errorf("--overflow: %q is not known, expected %s", d.overflow, strings.Join(dataset.Overflows(), ", "))
	case d.textField != "" && (d.promptField != "" || d.completionField != ""):
		return errors.New("--text-field: cannot be combined with --prompt-field and --completion-field")
	case (d.promptField == "") != (d.completionField == "") && d.form == "" && d.PromptTemplate == "":
		return errors.New("--prompt-field and --completion-field: one needs the other")
	case d.task != "" && d.task != "classify":
		return fmt.Errorf("--task: %q is not known, expected classify", d.task)
	case d.task != "" && len(d.Labels) < 2:
		return errors.New("--task classify: needs --labels, two or more")
	case d.task == "" && len(d.Labels) > 0:
		return errors.New("--labels: needs --task classify")
	case !(d.evalSplit >= 0 && d.evalSplit < 1):
		return fmt.Errorf("--eval-split: %v, expected a share from 0 to below 1", d.evalSplit)
	case d.evalSplit > 0 && d.EvalData != "":
		return errors.New("--eval-split: cannot be combined with --eval-data")
	}
	if err := d.CheckFormat(); err != nil {
		return err
	}
	if err := d.conversations.check(); err != nil {
		return err
	}
	return d.parseSources()
}

// CheckFormat checks --file-format.
func (d *Data) CheckFormat() error {
	if d.format != "" && !slices.Contains(records.Formats(), d.format) {
		return fmt.Errorf("--file-format: %q is not known, expected %s", d.format, strings.Join(records.Formats(), ", "))
	}
	return nil
}

// parseSources reads --data.
func (d *Data) parseSources() error {
	d.Sources = nil
	stdin, weighted := 0, 0
	for _, value := range d.data {
		source, err := parseSource(value)
		if err != nil {
			return err
		}
		if source.Path == records.Stdin {
			stdin++
		}
		if source.Weight > 0 {
			weighted++
		}
		d.Sources = append(d.Sources, source)
	}
	if d.EvalData == records.Stdin {
		stdin++
	}
	switch {
	case stdin > 1:
		return errors.New("--data and --eval-data: standard input (-) can be read only once")
	case weighted > 0 && weighted < len(d.Sources):
		return errors.New("--data: some have weights and some have none; give each one a weight, as in a.jsonl:0.7, or none")
	case d.keepCache && stdin > 0:
		return errors.New("--keep-cache: cannot be combined with standard input (-), which a later run cannot read again")
	}
	return nil
}

// parseSource reads FILE or FILE:WEIGHT. A colon that no number follows belongs to the file's name, and so does any
// colon where there is a file of the whole name.
func parseSource(value string) (peft.DataSource, error) {
	i := strings.LastIndexByte(value, ':')
	if value == "" {
		return peft.DataSource{}, errors.New("--data: empty file name")
	}
	if i <= 0 || cli.Exists(value) {
		return peft.DataSource{Path: value}, nil
	}
	weight, err := strconv.ParseFloat(value[i+1:], 64)
	if err != nil {
		return peft.DataSource{Path: value}, nil
	}
	if !(weight > 0) || math.IsInf(weight, 0) {
		return peft.DataSource{}, fmt.Errorf("--data: weight %s in %q, expected a number above 0", value[i+1:], value)
	}
	return peft.DataSource{Path: value[:i], Weight: weight}, nil
}

// SetData is --data and --eval-data of verbs that bring their own.
func (d *Data) SetData(data, evalData string) {
	d.Sources, d.EvalData = []peft.DataSource{{Path: data}}, evalData
}

// HasData says whether --data was given.
func (d *Data) HasData() bool { return len(d.data) > 0 }

// Paths are the files and directories that the flags of training name.
func (d *Data) Paths() []string {
	paths := []string{d.EvalData}
	for _, s := range d.Sources {
		paths = append(paths, s.Path)
	}
	return slices.DeleteFunc(paths, func(p string) bool { return p == records.Stdin })
}

// Holds says whether there are data to measure on that are not learned.
func (d *Data) Holds() bool {
	_, held := d.evalPath()
	return held || d.evalSplit > 0
}

// evalPath is the file or directory that the loss is measured on, where it is not a part of --data.
func (d *Data) evalPath() (path string, ok bool) {
	if d.EvalData != "" || d.evalSplit > 0 {
		return d.EvalData, d.EvalData != ""
	}
	for _, s := range d.Sources {
		if info, err := os.Stat(s.Path); err == nil && info.IsDir() {
			if files, err := records.Find(s.Path, records.Validation); err == nil && len(files) > 0 {
				return s.Path, true
			}
		}
	}
	return "", false
}

// EvalPath is what eval takes to measure on the same data: the evaluation data, or else the first of --data.
func (d *Data) EvalPath() string {
	if path, ok := d.evalPath(); ok {
		return path
	}
	return d.Sources[0].Path
}

// Options are those of the library. Of a directory the files of the first split that is there are meant.
func (d *Data) Options(path string, splits ...string) peft.DataOptions {
	opt := peft.DataOptions{Format: d.format, Stdin: d.In, Cache: os.TempDir()}
	for _, split := range splits {
		opt.Split = split
		if files, err := records.Find(path, records.Split(split)); err != nil || len(files) > 0 {
			break
		}
	}
	return opt
}

// evalSplits are the splits of a directory that is named to measure on.
var evalSplits = []string{peft.SplitValidation, peft.SplitTest}

// Load reads examples with a base's tokenizer, in the template and with the classes of its adapters. Of a directory it
// reads the first of the splits that is there.
func (d *Data) Load(path string, splits []string, b *peft.Base, adapters ...*peft.Adapter) (*peft.Data, error) {
	return peft.LoadData(path, b, d.examples(b, adapters, d.Options(path, splits...)))
}

// examples completes options with what says how files become examples.
func (d *Data) examples(b *peft.Base, adapters []*peft.Adapter, opt peft.DataOptions) peft.DataOptions {
	if n := b.ContextLength(); n > 1 && n < d.SeqLen && !d.hasSeqLen() {
		d.SeqLen = n
	}
	opt.SeqLen, opt.Overflow = d.SeqLen, d.overflow
	opt.TextField, opt.PromptField, opt.CompletionField = d.textField, d.promptField, d.completionField
	opt.Classes, opt.Adapters = d.Classes(), adapters
	if d.hasSeparator() {
		text := unescaped(d.separator)
		opt.Separator = &text
	}
	d.apply(&opt)
	return opt
}

// LoadTraining reads what is learned and what is measured. out is the output beside which token ids are kept in a file
// where they are many; "": they are in the folder for temporary files.
func (d *Data) LoadTraining(b *peft.Base, out string, adapters ...*peft.Adapter) (train, eval *peft.Data, err error) {
	opt := d.examples(b, adapters, d.Options("", peft.SplitTrain))
	if out != "" {
		opt.Cache = out
	}
	opt.EvalSplit, opt.KeepCache = d.evalSplit, d.keepCache
	stop := d.show(&opt)
	train, eval, err = peft.LoadSources(d.Sources, b, opt)
	stop()
	if err != nil || eval != nil {
		return train, eval, err
	}
	if path, ok := d.evalPath(); ok {
		eval, err = d.Load(path, evalSplits, b, adapters...)
	} else {
		eval, err = train.Sample(SampledTokens)
	}
	if err != nil {
		return nil, nil, errors.Join(err, train.Close())
	}
	return train, eval, nil
}

// shownFrom is how many bytes of data take long enough to read for a display.
const shownFrom = 32 << 20

// show adds a display of how far reading has come to options, where the data are large, and what ends reading. stop
// takes the display away.
func (d *Data) show(opt *peft.DataOptions) (stop func()) {
	var size, done int64
	for _, s := range d.Sources {
		files, _ := records.Find(s.Path, records.Train) // an error is one of reading, too
		for _, f := range files {
			if info, err := os.Stat(f); err == nil {
				size += info.Size()
			}
		}
	}
	var m *cli.Meter
	if d.Err != nil && size >= shownFrom {
		m = cli.NewMeter(d.Err, cli.InBytes)
	}
	opt.Progress = func(n int) error {
		done = min(done+int64(n), size)
		if m != nil {
			m.Update(done, size, "read")
		}
		if d.Stop != nil {
			return d.Stop()
		}
		return nil
	}
	return m.Stop
}

// LoadRecords reads the records that a prompt is searched on, and those that are held out.
func (d *Data) LoadRecords(template string) (train, eval []search.Record, err error) {
	if d.evalSplit > 0 {
		return nil, nil, cli.Usagef("--eval-split: a search for a prompt holds a part of the records back by itself")
	}
	for _, s := range d.Sources {
		if s.Weight > 0 {
			return nil, nil, cli.Usagef("--data %s:%v: a search for a prompt takes no weights", s.Path, s.Weight)
		}
		more, err := search.LoadRecords(s.Path, template, d.Options(s.Path, peft.SplitTrain))
		if err != nil {
			return nil, nil, err
		}
		train = append(train, more...)
	}
	if path, ok := d.evalPath(); ok {
		eval, err = search.LoadRecords(path, template, d.Options(path, evalSplits...))
	}
	return train, eval, err
}

// HoldStdin reads standard input into memory, where the flags of training name it, so that it can be read again.
func (d *Data) HoldStdin() error {
	named := d.EvalData == records.Stdin
	for _, s := range d.Sources {
		named = named || s.Path == records.Stdin
	}
	if !named {
		return nil
	}
	text, err := infile.ReadFrom(d.stdin(), "standard input", infile.Held)
	if err != nil {
		return fmt.Errorf("%w (it is read again for each method: name a file of it instead)", err)
	}
	d.In = &again{text: text}
	return nil
}

func (d *Data) stdin() io.Reader {
	if d.In == nil {
		return os.Stdin
	}
	return d.In
}

// again is a text that can be read from its beginning each time that it was read to its end.
type again struct {
	text []byte
	rest *bytes.Reader
}

// Read implements io.Reader.
func (a *again) Read(p []byte) (int, error) {
	if a.rest == nil {
		a.rest = bytes.NewReader(a.text)
	}
	n, err := a.rest.Read(p)
	if err == io.EOF {
		a.rest = nil
	}
	return n, err
}

// EvalSplits are the splits that eval measures of a directory.
func EvalSplits() []string { return []string{peft.SplitTest, peft.SplitValidation} }

// IsText says whether data is a text rather than records, by its name; standard input is looked at, and what reads it
// next begins where it does.
func (d *Data) IsText(path string, splits ...string) (bool, error) {
	opt := d.Options(path, splits...)
	if path != records.Stdin {
		files, err := records.Find(path, records.Split(opt.Split))
		if err != nil || len(files) == 0 {
			return false, err // which reading it reports
		}
		if records.FormatOf(files[0]) == "" && opt.Format != "" {
			return opt.Format == string(records.Text), nil
		}
		return dataset.IsText(files[0]), nil
	}
	if opt.Format != "" {
		return opt.Format == string(records.Text), nil
	}
	s, err := records.Open(path, records.Options{Stdin: d.stdin()})
	if err != nil {
		return false, err
	}
	d.In, d.format = s.Rest(), string(s.Format())
	return s.Format() == records.Text, nil
}
