// Package quantizing has what the verbs that write models in other types have in common: flags that give tensors types,
// and the result.
package quantizing

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/imatrix"
	"github.com/peftconv/peftconv/gguf/quantize"
	"github.com/peftconv/peftconv/internal/cli"
)

// Types are the flags that say which type each tensor of a quantized model gets.
type Types struct {
	Imatrix string           // the path of an importance matrix
	Options quantize.Options // as far as the flags say them: complete after Parse and OpenImatrix

	tensorTypes   []string
	outputType    string
	embeddingType string
}

// Add adds the flags, and those of more beside them.
func (o *Types) Add(fs *pflag.FlagSet, more func()) {
	fs.StringVar(&o.Imatrix, "imatrix", "", "an importance matrix, a `FILE` in GGUF form or in the older .dat form")
	cli.Group(fs, "Types", func() {
		fs.BoolVar(&o.Options.Pure, "pure", false, "give all matrices the same type, without the rules")
		fs.StringArrayVar(&o.tensorTypes, "tensor-type", nil,
			"`REGEX=TYPE`: the type of tensors whose names the expression matches somewhere; "+
				"may be repeated, the first that matches counts")
		fs.StringVar(&o.outputType, "output-tensor-type", "", "`TYPE` of the output head, output.weight")
		fs.StringVar(&o.embeddingType, "token-embedding-type", "", "`TYPE` of the token embedding, token_embd.weight")
		fs.BoolVar(&o.Options.LeaveOutput, "leave-output-tensor", false, "leave the output head as it is")
		more()
	})
}

// Given is the first of the flags that was given, "" where none was.
func (o *Types) Given() string {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"--imatrix", o.Imatrix != ""}, {"--pure", o.Options.Pure}, {"--tensor-type", o.tensorTypes != nil},
		{"--output-tensor-type", o.outputType != ""}, {"--token-embedding-type", o.embeddingType != ""},
		{"--leave-output-tensor", o.Options.LeaveOutput},
	} {
		if f.set {
			return f.name
		}
	}
	return ""
}

// Parse parses everything that names a type.
func (o *Types) Parse() (err error) {
	if o.outputType != "" && o.Options.LeaveOutput {
		return errors.New("--leave-output-tensor: cannot be combined with --output-tensor-type")
	}
	for _, s := range o.tensorTypes {
		override, err := quantize.ParseOverride(s)
		if err != nil {
			return fmt.Errorf("--tensor-type: %w", err)
		}
		o.Options.Overrides = append(o.Options.Overrides, override)
	}
	if o.Options.OutputType, err = optionalType("--output-tensor-type", o.outputType); err != nil {
		return err
	}
	o.Options.EmbeddingType, err = optionalType("--token-embedding-type", o.embeddingType)
	return err
}

func optionalType(flag, name string) (*gguf.Type, error) {
	if name == "" {
		return nil, nil
	}
	t, err := quantize.ParseType(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return &t, nil
}

// OpenImatrix reads the importance matrix.
func (o *Types) OpenImatrix() (err error) {
	if o.Imatrix != "" {
		o.Options.Imatrix, err = imatrix.Open(o.Imatrix)
	}
	return err
}

// Hint adds to an error the flag that would help.
func (o *Types) Hint(err error) error {
	switch {
	case errors.Is(err, quantize.ErrQuantized):
		return fmt.Errorf("%w (--allow-requantize)", err)
	case errors.Is(err, quantize.ErrNeedsImportance) && o.Imatrix == "":
		return fmt.Errorf("%w (--imatrix, which peftconv imatrix makes)", err)
	}
	return err
}

// Warn reports what differs from what was asked for.
func (o *Types) Warn(plan *quantize.Plan, w io.Writer) {
	if list := plan.Fallbacks(); len(list) > 0 {
		fmt.Fprintf(w, "warning: the rows of %s do not fit their type, for example %s: they get another\n",
			cli.Plural(len(list), "tensor"), cli.Name(list[0].Name))
	}
	if o.Imatrix == "" {
		return
	}
	if list := plan.Unweighted(); len(list) > 0 {
		fmt.Fprintf(w, "warning: %s has no entry for %s, for example %s: all their columns get the same importance\n",
			o.Imatrix, cli.Plural(len(list), "quantized tensor"), cli.Name(list[0].Name))
	}
}

// Result is the result as --json shows it.
type Result struct {
	Outputs   []string          `json:"outputs,omitempty"`
	FileType  string            `json:"file_type"`
	Size      int64             `json:"size"` // of the files, in bytes
	InputData int64             `json:"input_data_bytes"`
	Data      int64             `json:"data_bytes"`
	Weights   int64             `json:"weights"`
	Bits      float64           `json:"bits_per_weight"`
	Seconds   float64           `json:"seconds,omitempty"`
	Target    bool              `json:"target,omitempty"` // the types were chosen for a size
	Tensors   []quantize.Tensor `json:"tensors"`          // the plan's own
}

func NewResult(plan *quantize.Plan, outputs []string, took time.Duration) (*Result, error) {
	size, err := plan.Size()
	if err != nil {
		return nil, err
	}
	r := &Result{Outputs: outputs, FileType: plan.FileType().Name, Size: size, InputData: plan.InputBytes(),
		Data: plan.DataBytes(), Weights: plan.Weights(), Bits: plan.BitsPerWeight(), Seconds: took.Seconds(),
		Tensors: plan.Tensors}
	return r, nil
}

func (r *Result) Print(w io.Writer) {
	if len(r.Outputs) == 0 {
		r.printTensors(w)
	}
	mostly := ""
	if r.Target {
		mostly = "mostly "
	}
	fmt.Fprintf(w, "%s%s: %s, %.2f bits a weight, of %s before; %s\n", mostly, r.FileType, cli.BytesText(r.Size), r.Bits,
		cli.BytesText(r.InputData), r.types())
	if len(r.Outputs) > 0 {
		fmt.Fprintf(w, "written to %s in %.1f s, %s a second\n", strings.Join(r.Outputs, ", "), r.Seconds,
			cli.BytesText(int64(float64(r.InputData)/r.Seconds)))
	}
}

func (r *Result) printTensors(w io.Writer) {
	table := cli.NewTable(w)
	fmt.Fprint(table, "tensor\tshape\tfrom\tto\tbytes\n")
	for _, t := range r.Tensors {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", cli.Name(t.Name), cli.ShapeText(t.Shape), t.From, t.To,
			cli.CountText(t.Bytes))
	}
	table.Flush()
	fmt.Fprintln(w)
}

// types is "156 Q4_K, 25 Q6_K", in the order in which they first occur.
func (r *Result) types() string {
	counts := map[gguf.Type]int{}
	var types []gguf.Type
	for i := range r.Tensors {
		to := r.Tensors[i].To
		if counts[to]++; counts[to] == 1 {
			types = append(types, to)
		}
	}
	names := make([]string, len(types))
	for i, typ := range types {
		names[i] = fmt.Sprintf("%d %v", counts[typ], typ)
	}
	return strings.Join(names, ", ")
}
