package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/peft"
)

var exportVerb = verb{
	name:  "export",
	short: "write an adapter for llama.cpp or for HF PEFT",
	long: `Writes an adapter in the form that another program loads: --to gguf makes the file that llama.cpp's --lora takes
(and Ollama's ADAPTER, and LM Studio), --to peft the directory that PEFT's PeftModel.from_pretrained takes, with
adapter_config.json and adapter_model.safetensors.

A GGUF adapter needs its base: names and the order of rows follow it. The base is found through the adapter where
--base does not name it.`,
	examples: []string{
		"peftconv export --lora out.safetensors --to gguf --out out-lora.gguf",
		"peftconv export --lora out.safetensors --to peft --out adapter/",
	},
	new: func() command { return new(exportOptions) },
}

type exportOptions struct {
	modelFlags
	lora, to, out, elements string
	json                    bool
}

func (o *exportOptions) flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.lora, "lora", "", "the adapter's `FILE`: out.safetensors or a PEFT directory")
	fs.StringVar(&o.to, "to", "", "the `FORM` to write: gguf or peft")
	fs.StringVarP(&o.out, "out", "o", "", "the `FILE` to write, or the directory for --to peft")
	o.addBase(fs, "the model the adapter belongs to, for --to gguf: a GGUF `FILE` or a Hugging Face directory (default: the one it was trained over)")
	fs.StringVar(&o.elements, "type", "F32", "`TYPE` of the numbers in a GGUF adapter: F32 or F16")
	fs.BoolVar(&o.json, "json", false, "print what was written as one JSON document")
	require(fs, "lora", "to", "out")
}

func (o *exportOptions) validate(args []string) error {
	switch {
	case len(args) > 0:
		return noArgs(args)
	case o.to != "gguf" && o.to != "peft":
		return fmt.Errorf("--to: %q is not known, expected gguf or peft", o.to)
	case !strings.EqualFold(o.elements, "F32") && !strings.EqualFold(o.elements, "F16"):
		return fmt.Errorf("--type: %q, expected F32 or F16", o.elements)
	}
	o.loras = []string{o.lora}
	return o.check()
}

// exported is the document that --json prints.
type exported struct {
	Output     string `json:"output"`
	Format     string `json:"format"`
	Parameters int    `json:"parameters"`
	Bytes      int64  `json:"bytes"`
}

func (o *exportOptions) run(_ context.Context, s streams) error {
	write := o.toGGUF
	if o.to == "peft" {
		write = o.toPEFT
	}
	a, err := write(s)
	if err != nil {
		return err
	}
	done := exported{Output: o.out, Format: o.to, Parameters: a.Parameters(), Bytes: sizeOf(o.out)}
	if o.json {
		return printJSON(s.out, done)
	}
	fmt.Fprintf(s.out, "%s written: %s, %s\n", done.Output, plural(done.Parameters, "parameter"), bytesText(done.Bytes))
	if o.to == "gguf" {
		fmt.Fprintf(s.out, "\nllama-cli -m %s --lora %s\n", shellQuote(o.base), shellQuote(o.out))
	}
	return nil
}

func (o *exportOptions) toGGUF(s streams) (*peft.Adapter, error) {
	opened, err := o.open()
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	if err := checkOutput("--out", o.out, o.inputs(opened.base)...); err != nil {
		return nil, err
	}
	o.warnOtherBase(opened, s.err)
	t, err := gguf.ParseType(o.elements)
	if err != nil {
		return nil, err
	}
	o.base = opened.base.Path
	a := opened.adapters[0].Adapter
	return a, a.ExportGGUFAs(opened.base, o.out, t)
}

func (o *exportOptions) toPEFT(streams) (*peft.Adapter, error) {
	a, err := peft.Load(o.lora)
	if err != nil {
		return nil, err
	}
	if err := checkPlace("--out", filepath.Clean(o.out), o.lora); err != nil {
		return nil, err
	}
	return a, a.SaveDir(o.out)
}
