package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/export"
)

func init() { register(&exportVerb) }

var exportVerb = cli.Verb{
	Place: 70,
	Name:  "export",
	Short: "write an adapter for llama.cpp or for HF PEFT",
	Long: "Writes an adapter in the form that another program loads:\n\n" + formTexts() + `
All but peft need the adapter's base, which determines names and the order of rows. It is found through the adapter
where --base does not name it.

For ollama the base's template, system prompt and parameters are kept where it is one of Ollama's models
(--base ollama:NAME); otherwise Ollama uses the chat template in the GGUF file.`,
	Examples: []string{
		"peftconv export --lora out.safetensors --to gguf --out out-lora.gguf",
		"peftconv export --lora out.safetensors --to model --out model-with-adapter.gguf",
		"peftconv export --lora out.safetensors --to peft --out adapter/",
		"peftconv export --lora out.safetensors --to ollama --create tuned",
		"peftconv export --base merged-q4_k_m.gguf --to ollama --create tuned",
	},
	New: func() cli.Command { return new(exportOptions) },
}

type exportOptions struct {
	cli.Output
	modelFlags
	lora, to, out, elements string
	rank                    int
	json                    bool
	state                   export.StateOptions
	ollama                  export.OllamaOptions
	template                string
	typeGiven               func() bool
}

func (o *exportOptions) Flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.lora, "lora", "", "the adapter's `FILE`: out.safetensors, a PEFT directory or a LoRA in GGUF")
	fs.StringVar(&o.to, "to", "", "the `FORM` to write: "+strings.Join(export.Names(), ", "))
	fs.StringVarP(&o.out, "out", "o", "", "the `FILE` to write, or the directory for --to peft, adapterhub and ollama")
	o.addBase(fs, "the model the adapter belongs to: "+cli.ModelNames+" (default: the one it was trained over)")
	o.addLatent(fs)
	cli.Choices(fs, "to", export.Names()...)
	fs.StringVar(&o.elements, "type", "F32",
		"`TYPE` of the numbers in a GGUF adapter: F32, F16, BF16, or Q8_0 where rows fit; in a "+
			"state F16 unless F32 is given, as llama.cpp's --cache-type")
	o.typeGiven = func() bool { return fs.Changed("type") }
	fs.StringVar(&o.state.Kind, "state", export.StateSession, "`KIND` of a state: session or sequence")
	fs.StringVar(&o.state.Target, "target", "2026",
		"`TIME` of the llama.cpp that reads a state: 2026, 2025 (from July on) or 2025-02")
	fs.StringVar(&o.state.Attention, "attention", "",
		"how that llama.cpp runs: `HOW` flash or plain (default: that of the version)")
	fs.StringVar(&o.state.First, "first-token", "",
		"`TEXT` of the token that every prompt begins with, which a session has to hold (default: BOS, where the model "+
			"puts that before texts)")
	fs.IntVar(&o.state.Streams, "streams", 1, "`N` caches of that llama.cpp: its slots, where they do not share one")
	fs.StringVar(&o.state.From, "from", "",
		"a state `FILE` that llama.cpp itself saved after reading as "+
			"many tokens (llama-completion: one more), to put keys and values into whatever its version")
	fs.IntVar(&o.rank, "rank", 0, "the highest `RANK` of a weight's matrices in a GGUF adapter: changes of a higher "+
		"rank are cut to it; 0 is as they are, and for "+
		"those that are not of low rank the rank that keeps 99 % of each")
	cli.Group(fs, "Flags of --to ollama", func() {
		fs.StringVar(&o.ollama.Create, "create", "",
			"put the model into Ollama's store under this `NAME`, in place of --out (OLLAMA_MODELS names another store)")
		fs.StringVar(&o.template, "template", "", "a `FILE`, - is standard input, with a template in Ollama's form "+
			"(default: the base's)")
		fs.StringVar(&o.ollama.System, "system", "", "a system prompt, `TEXT` (default: the base's)")
		fs.StringArrayVar(&o.ollama.Parameters, "parameter", nil,
			"a parameter that Ollama runs it with, `NAME=VALUE` as temperature=0.5; may be repeated")
	})
	o.AddForce(fs)
	fs.BoolVar(&o.json, "json", false, "print what was written as one JSON document")
	cli.Require(fs, "to")
}

func (o *exportOptions) Validate(args []string) error {
	form := export.Find(o.to)
	switch {
	case len(args) > 0:
		return cli.NoArgs(args)
	case form == nil:
		return fmt.Errorf("--to: %q is not known, expected %s", o.to, strings.Join(export.Names(), ", "))
	case o.lora == "" && !form.NoAdapter:
		return errors.New("missing required flag --lora")
	case o.ollama.Create != "" && (o.to != "ollama" || o.out != ""):
		return errors.New("--create: goes with --to ollama, and in place of --out")
	case o.out == "" && o.ollama.Create == "":
		return errors.New("missing required flag --out")
	case !slices.ContainsFunc(elementTypes, func(name string) bool { return strings.EqualFold(o.elements, name) }):
		return fmt.Errorf("--type: %q, expected %s", o.elements, strings.Join(elementTypes, ", "))
	}
	if o.rank < 0 {
		return fmt.Errorf("--rank: %d, expected 1 or more, or 0", o.rank)
	}
	o.loras = nil
	if o.lora != "" {
		o.loras = []string{o.lora}
	}
	return o.check()
}

// elementTypes are the values of --type.
var elementTypes = []string{"F32", "F16", "BF16", "Q8_0"}

// formTexts is what help says of the forms, a paragraph each.
func formTexts() string {
	var b strings.Builder
	for _, f := range export.Forms() {
		lines := cli.Wrap(f.About, 120-14)
		for i, line := range lines {
			name := f.Name
			if i > 0 {
				name = ""
			}
			fmt.Fprintf(&b, "  %-11s %s\n", name, line)
		}
	}
	return b.String()
}

// exported is the document that --json prints.
type exported struct {
	Output     string `json:"output"`
	Format     string `json:"format"`
	Parameters int    `json:"parameters"`
	Bytes      int64  `json:"bytes"`
	Note       string `json:"note,omitempty"`

	Report   *export.LoRAReport   `json:"report,omitempty"`   // of --to gguf
	State    *export.StateReport  `json:"state,omitempty"`    // of --to state
	Ollama   *export.OllamaReport `json:"ollama,omitempty"`   // of --to ollama
	Commands []string             `json:"commands,omitempty"` // that load what was written
}

func (o *exportOptions) Run(_ context.Context, s cli.Streams) error {
	form := export.Find(o.to)
	in, done, err := o.write(form, s)
	if err != nil {
		return err
	}
	if len(in.Adapters) > 0 {
		done.Parameters = in.Adapters[0].Adapter.Parameters()
	}
	if o.json {
		return cli.PrintJSON(s.Out, done)
	}
	fmt.Fprintf(s.Out, "%s written%s\n", done.Output, o.measures(in, done))
	if done.Note != "" {
		fmt.Fprintf(s.Out, "note: %s\n", done.Note)
	}
	if len(done.Commands) > 0 {
		fmt.Fprintf(s.Out, "\n%s\n", strings.Join(done.Commands, "\n"))
	}
	return nil
}

// measures says how large what was written is.
func (o *exportOptions) measures(in export.Input, done exported) string {
	switch {
	case o.ollama.Create != "":
		return fmt.Sprintf(" to %s: %s", done.Ollama.Store, cli.Plural(len(done.Ollama.Files), "blob"))
	case len(in.Adapters) == 0:
		return ": " + cli.BytesText(done.Bytes)
	}
	return fmt.Sprintf(": %s, %s", cli.Plural(done.Parameters, "parameter"), cli.BytesText(done.Bytes))
}

// write writes the form.
func (o *exportOptions) write(form *export.Form, s cli.Streams) (in export.Input, done exported, err error) {
	done = exported{Output: o.out, Format: o.to}
	opt, err := o.options(s)
	if err != nil {
		return in, done, err
	}
	opened, err := o.openFor(form, s.Err)
	if err != nil {
		return in, done, err
	}
	if opened.base != nil {
		defer opened.Close()
	}
	check, others := o.CheckOutput, []string{o.lora}
	if form.Directory {
		check = o.CheckPlace
	}
	if opened.base != nil {
		others = o.inputs(opened.base)
	}
	if o.ollama.Create != "" {
		done.Output = "ollama:" + o.ollama.Create
	} else if err := check("--out", filepath.Clean(o.out), others...); err != nil {
		return in, done, err
	}
	if opened.base != nil {
		o.warnOtherBase(opened, s.Err)
		o.base = opened.base.Path()
	}
	in = export.Input{Base: opened.base, Adapters: opened.adapters}
	report, err := form.Write(in, o.out, opt)
	if err != nil {
		return in, done, err
	}
	done.Report, done.State, done.Ollama = report.LoRA, report.State, report.Ollama
	done.Note = noteOf(report)
	if o.out != "" {
		done.Bytes = cli.PathSize(o.out)
	}
	if form.Use != nil {
		for _, words := range form.Use(o.base, o.out, report) {
			done.Commands = append(done.Commands, cli.CommandLine(words...))
		}
	}
	return in, done, nil
}

// openFor loads the adapter, and opens the base for a form that needs it.
func (o *exportOptions) openFor(form *export.Form, w io.Writer) (*opened, error) {
	if !form.NoBase || o.base != "" {
		return o.open(w)
	}
	a, err := peft.Load(o.lora)
	if err != nil {
		return nil, err
	}
	return &opened{adapters: []peft.Scaled{{Adapter: a, Scale: 1}}}, nil
}

// options are the form's options from the flags.
func (o *exportOptions) options(s cli.Streams) (opt export.Options, err error) {
	o.ollama.Force = o.Force
	opt.LoRA.Rank, opt.State, opt.Ollama = o.rank, o.state, o.ollama
	if o.template != "" {
		text, err := s.ReadFile(o.template)
		if err != nil {
			return opt, fmt.Errorf("--template: %w", err)
		}
		opt.Ollama.Template = string(text)
	}
	opt.State.F32 = o.typeGiven() && strings.EqualFold(o.elements, "F32")
	opt.LoRA.Type, err = gguf.ParseType(o.elements)
	return opt, err
}

// noteOf is a report as text.
func noteOf(r *export.Report) string {
	switch {
	case r.LoRA != nil:
		return cutNote(r.LoRA)
	case r.State != nil:
		note := fmt.Sprintf("it stands for %s; a prompt has to begin with as many, each of them %s (token %d)",
			cli.Plural(r.State.Tokens, "token"), r.State.Text, r.State.Placeholder)
		if r.State.First != "" {
			note += fmt.Sprintf(", and then with %s: after another token the last of the %d would be lost", r.State.First,
				r.State.Tokens)
		}
		return note
	}
	return r.Note
}

// cutNote reports the error of changes that were cut to a low rank.
func cutNote(r *export.LoRAReport) string {
	if r.Error < 1e-6 {
		return ""
	}
	worst, rank := r.Tensors[0], 0
	for _, t := range r.Tensors {
		rank = max(rank, t.Rank)
		if t.Error > worst.Error {
			worst = t
		}
	}
	return fmt.Sprintf("the adapter's changes are not of low rank: cut to rank %d or less, their error is %.1f %% of "+
		"their norm (largest in %s, %.1f %%); --rank sets another rank, which makes the file smaller or larger, and merge "+
		"keeps all without such a file", rank, 100*r.Error, cli.Name(worst.Name), 100*worst.Error)
}
