package main

import (
	"context"
	"fmt"
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
	Long: `Writes an adapter in the form that another program loads:

  gguf        the file that llama.cpp's --lora takes (and Ollama's ADAPTER, and LM Studio), for methods that change weights
  model       a GGUF model with the adapter in it that every llama.cpp runs, for methods that add to the network: parallel
              adapters make its FFN wider, serial-pfeiffer ones become layers of the architecture deci; virtual tokens of
              prompt-tuning and p-tuning join the vocabulary, and its chat template begins with them
  state       the contents of llama.cpp's key-value cache after virtual tokens or a prefix: a file for llama-cli's
              --prompt-cache, or with --state sequence for a slot of llama-server
  peft        the directory that PEFT's PeftModel.from_pretrained takes
  adapterhub  the directory that the adapters library takes, for bottleneck adapters

All but peft need the adapter's base, which determines names and the order of rows. It is found through the adapter where
--base does not name it.`,
	Examples: []string{
		"peftconv export --lora out.safetensors --to gguf --out out-lora.gguf",
		"peftconv export --lora out.safetensors --to model --out model-with-adapter.gguf",
		"peftconv export --lora out.safetensors --to peft --out adapter/",
	},
	New: func() cli.Command { return new(exportOptions) },
}

type exportOptions struct {
	modelFlags
	lora, to, out, elements string
	rank                    int
	json                    bool
	state                   export.StateOptions
	typeGiven               func() bool
}

func (o *exportOptions) Flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.lora, "lora", "", "the adapter's `FILE`: out.safetensors or a PEFT directory")
	fs.StringVar(&o.to, "to", "", "the `FORM` to write: "+strings.Join(exportForms, ", "))
	fs.StringVarP(&o.out, "out", "o", "", "the `FILE` to write, or the directory for --to peft and adapterhub")
	o.addBase(fs, "the model the adapter belongs to: a GGUF `FILE` or a Hugging Face directory (default: the one it was trained over)")
	o.addLatent(fs)
	fs.StringVar(&o.elements, "type", "F32", "`TYPE` of the numbers in a GGUF adapter, F32 or F16; in a state F16 unless F32 is given, as llama.cpp's --cache-type")
	o.typeGiven = func() bool { return fs.Changed("type") }
	fs.StringVar(&o.state.Kind, "state", export.StateSession, "`KIND` of a state: session or sequence")
	fs.StringVar(&o.state.Target, "target", "2026", "`TIME` of the llama.cpp that reads a state: 2026, 2025 (from July on) or 2025-02")
	fs.StringVar(&o.state.Attention, "attention", "", "how that llama.cpp runs: `HOW` flash or plain (default: as it does by itself)")
	fs.IntVar(&o.state.Streams, "streams", 1, "`N` caches of that llama.cpp: its slots, where they do not share one")
	fs.StringVar(&o.state.From, "from", "", "a state `FILE` that llama.cpp itself saved after reading as many tokens, to put keys and values into whatever its version")
	fs.IntVar(&o.rank, "rank", 0, "the highest `RANK` of a weight's matrices in a GGUF adapter: changes of a higher rank are cut to it; 0 is as they are, and 32 for "+
		"those that are not of low rank")
	fs.BoolVar(&o.json, "json", false, "print what was written as one JSON document")
	cli.Require(fs, "lora", "to", "out")
}

func (o *exportOptions) Validate(args []string) error {
	switch {
	case len(args) > 0:
		return cli.NoArgs(args)
	case !slices.Contains(exportForms, o.to):
		return fmt.Errorf("--to: %q is not known, expected %s", o.to, strings.Join(exportForms, ", "))
	case !strings.EqualFold(o.elements, "F32") && !strings.EqualFold(o.elements, "F16"):
		return fmt.Errorf("--type: %q, expected F32 or F16", o.elements)
	}
	if o.rank < 0 {
		return fmt.Errorf("--rank: %d, expected 1 or more, or 0", o.rank)
	}
	o.loras = []string{o.lora}
	return o.check()
}

// exportForms are the values of --to.
var exportForms = []string{"gguf", "model", "state", "peft", "adapterhub"}

// exported is the document that --json prints.
type exported struct {
	Output     string `json:"output"`
	Format     string `json:"format"`
	Parameters int    `json:"parameters"`
	Bytes      int64  `json:"bytes"`
	Note       string `json:"note,omitempty"`

	Report *export.LoRAReport `json:"report,omitempty"` // of --to gguf
}

func (o *exportOptions) Run(_ context.Context, s cli.Streams) error {
	done := exported{Output: o.out, Format: o.to}
	write := o.withBase
	if o.to == "peft" {
		write = o.toPEFT
	}
	a, err := write(s, &done)
	if err != nil {
		return err
	}
	done.Parameters, done.Bytes = a.Parameters(), sizeOf(o.out)
	if o.json {
		return cli.PrintJSON(s.Out, done)
	}
	fmt.Fprintf(s.Out, "%s written: %s, %s\n", done.Output, cli.Plural(done.Parameters, "parameter"), cli.BytesText(done.Bytes))
	if done.Note != "" {
		fmt.Fprintf(s.Out, "note: %s\n", done.Note)
	}
	switch o.to {
	case "gguf":
		fmt.Fprintf(s.Out, "\nllama-cli -m %s --lora %s\n", cli.ShellQuote(o.base), cli.ShellQuote(o.out))
	case "model":
		fmt.Fprintf(s.Out, "\nllama-cli -m %s\n", cli.ShellQuote(o.out))
	}
	return nil
}

// withBase writes the forms that need the base.
func (o *exportOptions) withBase(s cli.Streams, done *exported) (*peft.Adapter, error) {
	opened, err := o.open()
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	check := cli.CheckOutput
	if o.to == "adapterhub" {
		check = cli.CheckPlace
	}
	if err := check("--out", o.out, o.inputs(opened.base)...); err != nil {
		return nil, err
	}
	o.warnOtherBase(opened, s.Err)
	o.base = opened.base.Path()
	a := opened.adapters[0].Adapter
	switch o.to {
	case "state":
		return a, o.toState(opened, done)
	case "model":
		r, err := export.Model(a, opened.base, o.out)
		if err == nil {
			done.Note = r.Note
		}
		return a, err
	case "adapterhub":
		return a, a.SaveAdapterHub(o.out, opened.base)
	}
	t, err := gguf.ParseType(o.elements)
	if err != nil {
		return nil, err
	}
	report, err := export.LoRA(a, opened.base, o.out, export.LoRAOptions{Type: t, Rank: o.rank})
	if err == nil {
		done.Report, done.Note = report, cutNote(report)
	}
	return a, err
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
	return fmt.Sprintf("the adapter's changes are not of low rank: cut to rank %d, their error is %.1f %% of their norm (largest in %s, %.1f %%); "+
		"--rank keeps more, merge keeps all", rank, 100*r.Error, cli.Printable(worst.Name, 0), 100*worst.Error)
}

// toState writes the contents of llama.cpp's cache after the adapter's virtual tokens.
func (o *exportOptions) toState(opened *opened, done *exported) error {
	o.state.F32 = o.typeGiven() && strings.EqualFold(o.elements, "F32")
	r, err := export.State(opened.base, opened.adapters, o.out, o.state)
	if err == nil {
		done.Note = fmt.Sprintf("it stands for %s; a prompt has to begin with as many, each of them %s (token %d)", cli.Plural(r.Tokens, "token"), r.Text, r.Placeholder)
	}
	return err
}

func (o *exportOptions) toPEFT(cli.Streams, *exported) (*peft.Adapter, error) {
	a, err := peft.Load(o.lora)
	if err != nil {
		return nil, err
	}
	if !a.InPEFT() {
		return nil, fmt.Errorf("--to peft: %s: PEFT has no method %s", o.lora, a.PEFTType())
	}
	if err := cli.CheckPlace("--out", filepath.Clean(o.out), o.lora); err != nil {
		return nil, err
	}
	return a, a.SaveDir(o.out)
}
