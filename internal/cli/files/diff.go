package files

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/gguf/diff"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/report"
)

var diffVerb = cli.Verb{
	Place:  180,
	Name:   "diff",
	Args:   "A B",
	Models: 2,
	Lean:   true,
	Short:  "how two models or adapters differ: metadata, tensors, weights",
	Long: `Compares A with B, each a .gguf file (alone or one of several), a .safetensors file, an index of such files, or a
directory that holds them: metadata by key and tensors by name, + only in B, - only in A, ~ different. Tensors of the
same bytes are only counted. Of the others it says how far apart the weights are, whatever types they are stored in:

  error   |B-A|/|A|, the relative error in Frobenius' norm
  max     the largest difference of two weights, and its row and column, counted from 0
  cosine  of the angle between A and B

The exit status is 0 whether they differ or not. With --exit-code it is 1 when they differ and 2 when they could not be
compared.`,
	Examples: []string{
		"peftconv diff model-f16.gguf model-q4_k_m.gguf",
		"peftconv diff base.gguf merged.gguf --exit-code",
		"peftconv diff before.safetensors after.safetensors --json",
	},
	New: func() cli.Command { return new(diffOptions) },
}

type diffOptions struct {
	a, b     string
	options  diff.Options
	exitCode bool
	threads  int
	json     bool
}

func (o *diffOptions) Flags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.options.Quick, "quick", false, "compare names, types and shapes only, and read no weights")
	fs.BoolVar(&o.exitCode, "exit-code", false,
		"end with status 1 when they differ, and 2 when they could not be compared")
	cli.AddThreads(fs, &o.threads)
	fs.BoolVar(&o.json, "json", false, "print the differences as one JSON document")
}

func (o *diffOptions) Validate(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("expected A and B, found %s", cli.Plural(len(args), "argument"))
	}
	o.a, o.b = args[0], args[1]
	return cli.UseThreads(o.threads)
}

// Exit statuses of diff --exit-code.
const (
	ExitDiffer  = 1
	ExitTrouble = 2
)

func (o *diffOptions) Run(ctx context.Context, s cli.Streams) error {
	r, err := o.compare(ctx, s.Err)
	switch {
	case err != nil && o.exitCode:
		return &cli.StatusError{Status: ExitTrouble, Err: err}
	case err != nil:
		return err
	case o.json:
		err = cli.PrintJSON(s.Out, r)
	default:
		o.print(s.Out, r)
	}
	if lost := s.Lost(); lost != nil && o.exitCode {
		return &cli.StatusError{Status: ExitTrouble, Err: lost}
	}
	if err == nil && o.exitCode && !r.Same() {
		err = &cli.StatusError{Status: ExitDiffer}
	}
	return err
}

func (o *diffOptions) compare(ctx context.Context, progress io.Writer) (*diff.Result, error) {
	m := cli.NewCopyMeter(progress)
	defer m.Stop()
	o.options.Progress = m.Update
	return diff.Files(ctx, o.a, o.b, o.options)
}

func (o *diffOptions) print(w io.Writer, r *diff.Result) {
	if len(r.Metadata) > 0 {
		fmt.Fprintf(w, "Metadata (%s)\n", differences(len(r.Metadata)))
		report.PrintChanges(w, r.Metadata)
	}
	equal := cli.Plural(r.Equal, "tensor") + " the same"
	if r.Quick {
		equal = cli.Plural(r.Equal, "tensor") + " of the same type and shape"
	}
	if len(r.Tensors) == 0 {
		fmt.Fprintf(w, "%s\n", equal)
		return
	}
	fmt.Fprintf(w, "Tensors (%s, %s)\n", differences(len(r.Tensors)), equal)
	table := cli.NewTable(w)
	for i := range r.Tensors {
		printTensorChange(table, &r.Tensors[i])
	}
	if t := r.Together; t != nil && len(r.Tensors) > 1 {
		fmt.Fprintf(table, "  together\t\t%s\t%s\n", cli.Plural(t.Tensors, "tensor"),
			figures(t.Relative, fmt.Sprintf("max %.3g", t.MaxAbs), t.Cosine))
	}
	table.Flush()
}

func differences(n int) string { return cli.Plural(n, "difference") }

func printTensorChange(w *tabwriter.Writer, c *diff.TensorChange) {
	name := cli.Name(c.Name)
	switch {
	case c.Old == nil:
		fmt.Fprintf(w, "  + %s\t%s\t%s\n", name, c.New.Type, cli.ShapeText(c.New.Shape))
	case c.New == nil:
		fmt.Fprintf(w, "  - %s\t%s\t%s\n", name, c.Old.Type, cli.ShapeText(c.Old.Shape))
	default:
		fmt.Fprintf(w, "  ~ %s\t%s\t%s\t%s\n", name, arrow(c.Old.Type, c.New.Type),
			arrow(cli.ShapeText(c.Old.Shape), cli.ShapeText(c.New.Shape)), normsText(c.Diff))
	}
}

func arrow(old, new string) string {
	if old == new {
		return old
	}
	return old + " → " + new
}

// normsText is "error 0.0741  max 0.0382 at 13, 50  cosine 0.997254", in columns.
func normsText(n *diff.Norms) string {
	if n == nil {
		return ""
	}
	if n.Different == 0 {
		return "the numbers are the same"
	}
	text := figures(n.Relative, fmt.Sprintf("max %.3g at %d, %d", n.MaxAbs, n.MaxRow, n.MaxColumn), n.Cosine)
	if n.NonFinite > 0 {
		text += fmt.Sprintf("\t%s with NaN or infinity left out", cli.Plural(int(n.NonFinite), "pair"))
	}
	return text
}

func figures(relative *float64, largest string, cosine *float64) string {
	text := "error ∞"
	if relative != nil {
		text = fmt.Sprintf("error %.3g", *relative)
	}
	text += "\t" + largest
	if cosine != nil {
		text += fmt.Sprintf("\tcosine %.6f", *cosine)
	}
	return text
}
