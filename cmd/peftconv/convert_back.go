package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/tohf"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/hfvocab"
	"github.com/peftconv/peftconv/peft/export"
)

// runToHF makes a Hugging Face directory of a GGUF model.
func (o *convertOptions) runToHF(ctx context.Context, s cli.Streams) error {
	f, err := gguf.Open(o.in)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := o.CheckPlace("--out", o.out, append([]string{f.Path}, f.Shards...)...); err != nil {
		return err
	}
	var words []string
	opt := tohf.Options{DType: o.dtype, ShardBytes: int64(o.split), Force: o.Force,
		Files: func(create func(name string, data []byte) error) (err error) {
			words, err = hfvocab.WriteHF(f.Meta, create)
			return err
		}}
	if o.ropeScaling != "" {
		d := json.NewDecoder(strings.NewReader(o.ropeScaling))
		d.UseNumber() // numbers stay as they are written
		if err := d.Decode(&opt.RopeScaling); err != nil {
			return cli.Usagef("--rope-scaling: %v, expected a JSON object", err)
		}
	}
	start := time.Now()
	m := cli.NewMeter(s.Err, cli.InBytes)
	r, err := tohf.Write(ctx, f, o.out, opt, func(done, all int64) { m.Update(done, all, "") })
	m.Stop()
	if err != nil {
		return err
	}
	r.Assumed = append(r.Assumed, words...)
	if o.json {
		return cli.PrintJSON(s.Out, r)
	}
	printToHF(s.Out, r, o.out, time.Since(start))
	return nil
}

// printToHF prints what was written, what it had to assume, and what it lost.
func printToHF(w io.Writer, r *tohf.Report, dir string, took time.Duration) {
	fmt.Fprintf(w, "%s: %s of %s in %s, %s\n", r.Class, cli.Plural(r.Tensors, "tensor"), r.DType,
		cli.Plural(len(r.Files), "file"), cli.BytesText(r.Bytes))
	for _, text := range r.Assumed {
		fmt.Fprintf(w, "assumed: %s\n", text)
	}
	for _, text := range r.LeftOut {
		fmt.Fprintf(w, "left out: %s\n", text)
	}
	if n := len(r.Rounded); n > 0 {
		worst := r.Rounded[0]
		for _, t := range r.Rounded {
			if t.RMS > worst.RMS {
				worst = t
			}
		}
		fmt.Fprintf(w, "%s rounded from another type, the most %s (%s): RMS error %.2g of the values, at most %.2g\n",
			cli.Plural(n, "tensor"), worst.Tensor, worst.From, worst.RMS, worst.Max)
	}
	fmt.Fprintf(w, "written to %s in %.1f s\n", dir, took.Seconds())
}

// runAdapter makes the other form of an adapter.
func (o *convertOptions) runAdapter(ctx context.Context, s cli.Streams) error {
	if err := o.CheckPlace("--out", o.out, o.in); err != nil {
		return err
	}
	opt := export.ConvertOptions{}
	if o.given("type") {
		opt.Type = strings.ToLower(o.typ)
	}
	r, err := export.ConvertAdapter(ctx, o.in, o.out, o.base, opt)
	if err != nil {
		return err
	}
	if o.base == "" {
		fmt.Fprintf(s.Err, "base: %s\n", cli.Printable(r.Base, 0))
	}
	if o.json {
		return cli.PrintJSON(s.Out, r)
	}
	form := "a PEFT adapter"
	if r.ToGGUF {
		form = "a GGUF LoRA"
	}
	fmt.Fprintf(s.Out, "%s: %s of %s, %s parameters, alpha %g\nwritten to %s\n", form, cli.Plural(r.Tensors, "tensor"),
		strings.ToUpper(r.Type), cli.CountText(r.Parameters), r.Alpha, filepath.Clean(o.out))
	return nil
}
