package files

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/gguf/verify"
	"github.com/peftconv/peftconv/internal/cli"
)

var verifyVerb = cli.Verb{
	Place:  170,
	Name:   "verify",
	Args:   "FILE",
	Models: 1,
	Lean:   true,
	Short:  "look for what is wrong with a model's files",
	Long: `Reads all of FILE, a model or an adapter (a .gguf file, alone or one of several; a .safetensors file, an index of such
files, or a directory that holds them), and lists what is wrong: rules of the format that are broken, metadata and
tensors that contradict each other, weights that are NaN or infinite, and whatever train, eval and generate refuse when
they load a model (with its tokenizer), an adapter (with its configuration) or a checkpoint. What is loaded but odd, and
what peftconv cannot compute with, is listed as a note. A GGUF LoRA is checked as far as that needs no base.

--hashes prints the SHA-256 of each tensor's data in the form of sha256sum. --against compares: with such a list, with
the SHA256SUMS of whole files, or with the tensors of another model. The exit status is 1 when something is wrong.`,
	Examples: []string{
		"peftconv verify model.gguf",
		"peftconv verify model.gguf --hashes > model.sums && peftconv verify copy.gguf --against model.sums",
		"peftconv verify model-00001-of-00003.gguf --against SHA256SUMS",
		"peftconv verify adapter/ --json | jq .problems",
	},
	New: func() cli.Command { return new(verifyOptions) },
}

type verifyOptions struct {
	file    string
	options verify.Options
	threads int
	json    bool
}

func (o *verifyOptions) Flags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.options.Quick, "quick", false, "read headers, tokenizers and adapters, but no weights of models")
	fs.BoolVar(&o.options.Hashes, "hashes", false, "print the SHA-256 of every tensor, and findings to standard error")
	fs.StringVar(&o.options.Against, "against", "",
		"compare with a `FILE`: a list of hashes (of tensors or files), or another model")
	cli.Models(fs, "against")
	cli.AddThreads(fs, &o.threads)
	fs.BoolVar(&o.json, "json", false, "print everything as one JSON document")
}

func (o *verifyOptions) Validate(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("expected one FILE, found %s", cli.Plural(len(args), "argument"))
	}
	o.file = args[0]
	if o.options.Quick && (o.options.Hashes || o.options.Against != "") {
		return errors.New("--quick reads no weights, which --hashes and --against need")
	}
	return cli.UseThreads(o.threads)
}

func (o *verifyOptions) Run(ctx context.Context, s cli.Streams) error {
	m := cli.NewCopyMeter(s.Err)
	o.options.Progress = m.Update
	r, err := verify.File(ctx, o.file, o.options)
	m.Stop()
	if err != nil {
		return err
	}
	switch {
	case o.json:
		if err := cli.PrintJSON(s.Out, r); err != nil {
			return err
		}
	case o.options.Hashes:
		for _, t := range r.Tensors {
			fmt.Fprintln(s.Out, verify.SumLine(t.SHA256.String(), t.Name))
		}
		o.print(s.Err, r)
	default:
		o.print(s.Out, r)
	}
	if !r.OK() {
		return fmt.Errorf("%s: %s", o.file, cli.Plural(len(r.Problems), "problem"))
	}
	return nil
}

func (o *verifyOptions) print(w io.Writer, r *verify.Report) {
	for _, f := range r.Problems {
		fmt.Fprintf(w, "problem: %s\n", cli.Line(f.String()))
	}
	for _, f := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", cli.Line(f.String()))
	}
	if !r.OK() {
		return
	}
	what := r.Format
	if r.Architecture != "" {
		what += ", " + cli.Name(r.Architecture)
	}
	read := "no weights read"
	if !o.options.Quick {
		read = cli.Plural(int(r.Numbers), "number") + " read"
	}
	if o.options.Against != "" {
		read += fmt.Sprintf(", %s the same in %s", hashes(r.Compared), o.options.Against)
	}
	fmt.Fprintf(w, "%s: no problems (%s, %s, %s, %s)\n", o.file, what, cli.Plural(len(r.Tensors), "tensor"),
		cli.BytesText(r.Bytes), read)
}

func hashes(n int) string {
	if n == 1 {
		return "1 hash"
	}
	return cli.CountText(n) + " hashes"
}
