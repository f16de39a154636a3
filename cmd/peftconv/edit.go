package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/diff"
	"github.com/peftconv/peftconv/gguf/edit"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/report"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/export"
)

func init() { register(&editVerb) }

var editVerb = cli.Verb{
	Place: 160,
	Name:  "edit",
	Args:  "FILE",
	Lean:  true,
	Short: "change the metadata of a GGUF file without rewriting its tensors",
	Long: `Changes metadata and names of tensors in FILE, a .gguf file. Keys are removed first, then renamed, then set. A value
keeps its kind, unless the flag names another: --set KEY:u32=7. The kinds are u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 bool
str, and with [] arrays of them, which are written as JSON: --set 'KEY:str[]=["a","b"]'. A new key gets a string where
no kind is named, and a VALUE that could be a number or bool too needs its kind.

If the new header fits into the space of the old one, the tensors stay where they are, however large the file is. Unused
space is kept for later edits (as blanks under the key peftconv.pad; --rewrite removes them). Otherwise the whole file
is written to a new file, which replaces the old one when it is complete.

--add-token adds tokens at the end of the vocabulary, in a new file (--out). The text is then one token, whose embedding
starts as the mean of the tokens that the text had before. "train --train-tokens" over that file trains it.

A crash loses nothing. Where the file system can clone files, the header is written to a clone, which then replaces the
file. Elsewhere the bytes that change are first saved in FILE.edit-journal. If the machine stops while the header is
being written, "peftconv edit FILE" finishes the edit.`,
	Examples: []string{
		"peftconv edit model.gguf --set general.name='My model' --remove general.url",
		"peftconv edit model.gguf --template chat.jinja --set tokenizer.ggml.eos_token_id=2",
		"peftconv edit model.gguf --set llama.rope.freq_base:f32=500000 --dry-run",
		"peftconv edit model.gguf --rename-tensor old.weight=new.weight --out fixed.gguf",
		"peftconv edit model.gguf --add-token '<|tool|>' --add-token '<|end|>' --out grown.gguf",
	},
	New: func() cli.Command { return new(editOptions) },
}

type editOptions struct {
	cli.Output
	file, template                     string
	set, remove, rename, renameTensors []string
	addTokens                          []string
	options                            edit.Options
	reserve                            cli.SizeFlag
	dryRun, json                       bool

	edit edit.Edit
}

func (o *editOptions) Flags(fs *pflag.FlagSet) {
	fs.StringArrayVar(&o.set, "set", nil, "set a value: `KEY[:KIND]=VALUE`; may be repeated, as the next three may be")
	fs.StringArrayVar(&o.remove, "remove", nil, "remove the value of a `KEY`")
	fs.StringArrayVar(&o.rename, "rename", nil, "rename a key: `OLD=NEW`")
	fs.StringArrayVar(&o.renameTensors, "rename-tensor", nil, "rename a tensor: `OLD=NEW`")
	fs.StringArrayVar(&o.addTokens, "add-token", nil,
		"add a token with this `TEXT` at the end of the vocabulary; may be repeated; needs --out")
	fs.StringVar(&o.template, "template", "", "make the content of a `FILE`, - is standard input, the chat template (tokenizer.chat_template)")
	fs.StringVarP(&o.options.Out, "out", "o", "", "write the result to another `FILE`")
	o.AddForce(fs)
	fs.BoolVar(&o.options.Rewrite, "rewrite", false, "write the whole file anew even where the header fits")
	fs.Var(&o.reserve, "reserve", "`BYTES` to leave in the header for later edits where the file is written anew")
	fs.BoolVar(&o.dryRun, "dry-run", false, "show what would change, and write nothing")
	fs.BoolVar(&o.json, "json", false, "print what changed as one JSON document")
}

func (o *editOptions) Validate(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("expected one FILE, found %s", cli.Plural(len(args), "argument"))
	}
	o.file = args[0]
	o.options.Reserve = int64(o.reserve)
	o.edit = edit.Edit{Remove: o.remove}
	if o.addTokens != nil {
		return o.checkTokens()
	}
	for _, text := range o.set {
		a, err := edit.ParseAssignment(text)
		if err != nil {
			return fmt.Errorf("--set: %w", err)
		}
		o.edit.Set = append(o.edit.Set, a)
	}
	return errors.Join(pairs("--rename", o.rename, &o.edit.Rename),
		pairs("--rename-tensor", o.renameTensors, &o.edit.RenameTensors))
}

// checkTokens allows only flags that can be combined with new tokens.
func (o *editOptions) checkTokens() error {
	switch {
	case o.options.Out == "":
		return errors.New("--add-token: needs --out, because the tensors grow")
	case len(o.set)+len(o.remove)+len(o.rename)+len(o.renameTensors) > 0, o.template != "",
		o.options.Rewrite, o.reserve != 0, o.dryRun, o.json:
		return errors.New("--add-token can be combined with --out only: edit the new file afterwards")
	}
	return nil
}

// growVocabulary writes the model with new tokens.
func (o *editOptions) growVocabulary(s cli.Streams) error {
	if err := o.CheckOutput("--out", o.options.Out, o.file); err != nil {
		return err
	}
	base, err := peft.OpenBase(o.file)
	if err != nil {
		return err
	}
	defer base.Close()
	if err := export.AddTokens(base, o.addTokens, o.options.Out); err != nil {
		return err
	}
	first := base.VocabSize()
	fmt.Fprintf(s.Out, "%s written: %s more, with ids from %d on\n", o.options.Out, cli.Plural(len(o.addTokens), "token"),
		first)
	return nil
}

func pairs(flag string, texts []string, list *[]edit.Pair) error {
	for _, text := range texts {
		p, err := edit.ParsePair(text)
		if err != nil {
			return fmt.Errorf("%s: %w", flag, err)
		}
		*list = append(*list, p)
	}
	return nil
}

// asked says whether any change is requested.
func (o *editOptions) asked() bool {
	return len(o.set)+len(o.remove)+len(o.rename)+len(o.renameTensors) > 0 || o.addTokens != nil || o.template != "" ||
		o.options.Out != "" || o.options.Rewrite
}

// editReport is the document that --json prints.
type editReport struct {
	File     string             `json:"file"`
	Output   string             `json:"output"`
	Metadata []diff.ValueChange `json:"metadata"`
	Tensors  []edit.Pair        `json:"renamed_tensors"`
	Warnings []string           `json:"warnings"`
	Method   edit.Method        `json:"method"`
	Way      edit.Way           `json:"way,omitempty"` // of a dry run, none
	Space    int64              `json:"header_space"`  // bytes
	Needed   int64              `json:"header_needed"`
}

func (o *editOptions) Run(ctx context.Context, s cli.Streams) error {
	if err := o.recover(s); err != nil {
		return err
	}
	if o.addTokens != nil {
		return o.growVocabulary(s)
	}
	if !o.asked() {
		return nil
	}
	if err := o.readTemplate(s); err != nil {
		return err
	}
	if o.options.Out != "" {
		if err := o.CheckOutput("--out", o.options.Out, o.file); err != nil {
			return err
		}
	}
	m := cli.NewCopyMeter(s.Err)
	o.options.Progress = m.Update
	plan, way, err := o.apply(ctx)
	m.Stop()
	if err != nil {
		return suggest(err)
	}
	for _, warning := range plan.Warnings {
		fmt.Fprintf(s.Err, "warning: %s\n", cli.Line(warning))
	}
	if o.json {
		return cli.PrintJSON(s.Out, o.report(plan, way))
	}
	o.print(s, plan, way)
	return nil
}

// apply makes the edit. Where another edit of the file comes before it, it is planned again.
func (o *editOptions) apply(ctx context.Context) (*edit.Plan, edit.Way, error) {
	for {
		plan, err := edit.Prepare(o.file, o.edit, o.options)
		if err != nil || o.dryRun {
			return plan, "", err
		}
		way, err := plan.Apply(ctx)
		var changed *edit.ChangedError
		if !errors.As(err, &changed) {
			return plan, way, err
		}
	}
}

// recover finishes an edit that was interrupted.
func (o *editOptions) recover(s cli.Streams) error {
	pending := edit.Pending(o.file)
	switch {
	case pending && o.dryRun:
		return &gguf.InterruptedError{Path: o.file}
	case pending:
		if _, err := edit.Recover(o.file); err != nil {
			return err
		}
		fmt.Fprintf(s.Err, "%s: finished an edit that was interrupted\n", o.file)
	case !o.asked():
		return cli.Usagef("nothing to change: no --set, --remove, --rename, --rename-tensor, --template, --out or --rewrite")
	}
	return nil
}

func (o *editOptions) readTemplate(s cli.Streams) error {
	if o.template == "" {
		return nil
	}
	text, err := s.ReadFile(o.template)
	if err != nil {
		return fmt.Errorf("--template: %w", err)
	}
	kind, err := edit.ParseKind("str")
	o.edit.Set = append(o.edit.Set, edit.Assignment{Key: edit.ChatTemplate, Kind: &kind, Text: string(text)})
	return err
}

// suggest adds the nearest existing name to an error about an unknown name.
func suggest(err error) error {
	var missing *edit.MissingError
	if !errors.As(err, &missing) {
		return err
	}
	if near := cli.Nearest(missing.Name, missing.All); near != "" {
		return fmt.Errorf("%w; did you mean %q?", err, near)
	}
	return err
}

// interruptedEdit is the file that an error is about if an edit of it may have been interrupted, else "".
func interruptedEdit(err error) string {
	var format *gguf.FormatError
	var interrupted *gguf.InterruptedError
	switch {
	case errors.As(err, &interrupted):
		return interrupted.Path
	case errors.As(err, &format) && format.File != "" && edit.Pending(format.File):
		return format.File
	}
	return ""
}

func (o *editOptions) report(p *edit.Plan, way edit.Way) editReport {
	r := editReport{o.file, o.output(), p.Changes, p.Tensors, p.Warnings, p.Method, way, p.Space, p.Needed}
	if r.Warnings == nil {
		r.Warnings = []string{}
	}
	return r
}

func (o *editOptions) output() string {
	if o.options.Out != "" {
		return o.options.Out
	}
	return o.file
}

func (o *editOptions) print(s cli.Streams, p *edit.Plan, way edit.Way) {
	report.PrintChanges(s.Out, p.Changes)
	for _, t := range p.Tensors {
		fmt.Fprintf(s.Out, "  ~ tensor %s → %s\n", cli.Name(t.From), cli.Name(t.To))
	}
	data := cli.BytesText(p.Size - p.Space)
	switch {
	case p.Method == edit.Nothing:
		fmt.Fprintf(s.Out, "%s: nothing changes\n", o.file)
	case o.dryRun && p.Method == edit.Header:
		fmt.Fprintf(s.Out,
			"nothing written: the header would fit (%s of %s bytes), %s of tensors would stay where they are\n",
			cli.CountText(p.Needed), cli.CountText(p.Space), data)
	case o.dryRun:
		fmt.Fprintf(s.Out, "nothing written: the file would be written anew (header %s → %s bytes, tensors %s)\n",
			cli.CountText(p.Space), cli.CountText(p.Needed), data)
	case way == edit.Copied:
		fmt.Fprintf(s.Out, "%s written, %s\n", o.output(), cli.BytesText(cli.FileSize(o.output())))
	default:
		fmt.Fprintf(s.Out, "%s edited (%s): %s of tensors left where they are\n", o.file, way, data)
	}
}
