package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/eval"
)

// dataFlags are the flags of the verbs that read examples.
type dataFlags struct {
	seqLen                                  int
	hasSeqLen                               func() bool // it was given
	textField, promptField, completionField string
	separator                               string
	hasSeparator                            func() bool // it was given
	task, labelField                        string
	labels                                  []string
}

func (d *dataFlags) add(fs *pflag.FlagSet) {
	fs.IntVar(&d.seqLen, "seq-len", 512,
		"the most `TOKENS` of one example, by default no more than the model was made for: text is cut into pieces of this "+
			"length, longer examples are cut off")
	d.hasSeqLen = func() bool { return fs.Changed("seq-len") }
	fs.StringVar(&d.textField, "text-field", "", "`NAME` of the JSONL field that holds a whole text (default: text)")
	fs.StringVar(&d.promptField, "prompt-field", "",
		"`NAME` of the JSONL field that holds the prompt (default: prompt, or question)")
	fs.StringVar(&d.completionField, "completion-field", "",
		"`NAME` of the JSONL field that holds the completion (default: completion, or answer)")
	fs.StringVar(&d.separator, "separator", "",
		"`TEXT` between prompt and completion, \\n for a new line (default: nothing for fields called prompt and "+
			"completion, a new line for all others)")
	d.hasSeparator = func() bool { return fs.Changed("separator") }
	fs.StringVar(&d.task, "task", "",
		"`TASK` classify: the records of a .jsonl have a text (text, prompt or question) and a label to predict")
	fs.StringSliceVar(&d.labels, "labels", nil, "the possible labels for --task classify: `LABELS` separated by commas")
	fs.StringVar(&d.labelField, "label-field", "label", "`NAME` of the JSONL field that holds the label")
}

// classes are what records are classified into, by words; nil where they are not.
func (d *dataFlags) classes() *peft.Classes {
	if d.task == "" {
		return nil
	}
	return &peft.Classes{Labels: d.labels, Field: d.labelField, Words: true}
}

func (d *dataFlags) check() error {
	switch {
	case d.seqLen < 2:
		return fmt.Errorf("--seq-len: %d, expected 2 tokens or more", d.seqLen)
	case d.textField != "" && (d.promptField != "" || d.completionField != ""):
		return errors.New("--text-field: cannot be combined with --prompt-field and --completion-field")
	case (d.promptField == "") != (d.completionField == ""):
		return errors.New("--prompt-field and --completion-field: one needs the other")
	case d.task != "" && d.task != "classify":
		return fmt.Errorf("--task: %q is not known, expected classify", d.task)
	case d.task != "" && len(d.labels) < 2:
		return errors.New("--task classify: needs --labels, two or more")
	case d.task == "" && len(d.labels) > 0:
		return errors.New("--labels: needs --task classify")
	}
	return nil
}

// load reads examples with a base's tokenizer, in the template and with the classes of its adapters.
func (d *dataFlags) load(path string, b *peft.Base, adapters ...*peft.Adapter) (*peft.Data, error) {
	if n := b.ContextLength(); n > 1 && n < d.seqLen && !d.hasSeqLen() {
		d.seqLen = n
	}
	opt := peft.DataOptions{
		SeqLen: d.seqLen, TextField: d.textField, PromptField: d.promptField, CompletionField: d.completionField,
		Classes: d.classes(), Adapters: adapters,
	}
	if d.hasSeparator() {
		text := strings.NewReplacer(`\n`, "\n", `\t`, "\t").Replace(d.separator)
		opt.Separator = &text
	}
	return peft.LoadData(path, b, opt)
}

// window is --ctx of the verbs that run a model over windows of a text.
type window struct {
	tokens int
	given  func() bool
}

func (w *window) add(fs *pflag.FlagSet, usage string) {
	fs.IntVarP(&w.tokens, "ctx", "c", eval.DefaultWindow, usage+", by default no more than the model was made for")
	w.given = func() bool { return fs.Changed("ctx") }
}

// of is the number of tokens of a window for a base.
func (w *window) of(b *peft.Base) int {
	if n := b.ContextLength(); n > 0 && n < w.tokens && !w.given() {
		return n
	}
	return w.tokens
}
