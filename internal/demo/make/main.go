// Command make makes the built-in model, internal/demo/base.gguf, from nothing: text, vocabulary, training,
// quantization. It takes about twenty minutes on four cores.
//
//	go run ./internal/demo/make
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/demo/pretrain"
	"github.com/peftconv/peftconv/kernels"
	"github.com/spf13/pflag"
)

type options struct {
	out     string
	steps   int
	threads int
	kind    string
	f32     string
}

func main() {
	var o options
	recipe := pretrain.Builtin()
	pflag.StringVar(&o.out, "out", "internal/demo/base.gguf", "file to write")
	pflag.IntVar(&o.steps, "steps", recipe.Steps, "training steps; fewer make a worse model sooner")
	pflag.IntVar(&o.threads, "threads", 0, "threads; the result is the same with any number (0: one a core)")
	pflag.StringVar(&o.kind, "type", recipe.Type.String(), "type of the matrices in the file")
	pflag.StringVar(&o.f32, "f32", "", "write the model unquantized to this file too")
	pflag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, recipe, o); err != nil {
		fmt.Fprintln(os.Stderr, "make:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, recipe pretrain.Recipe, o options) error {
	kind, err := gguf.ParseType(o.kind)
	if err != nil {
		return err
	}
	recipe.Steps, recipe.Type = o.steps, kind
	kernels.SetThreads(o.threads)
	fmt.Printf("%d steps of %d tokens, %s kernels, %d threads\n", recipe.Steps, recipe.BatchTokens, kernels.Tier(),
		kernels.Threads())
	trained, err := pretrain.Train(ctx, recipe, report)
	if err != nil {
		return err
	}
	if o.f32 != "" {
		if err := save(trained, o.f32, gguf.F32); err != nil {
			return err
		}
	}
	return save(trained, o.out, kind)
}

func save(trained *pretrain.Trained, path string, kind gguf.Type) error {
	data, marks, err := trained.Finish(kind)
	if err != nil {
		return fmt.Errorf("finish %s: %w", path, err)
	}
	fmt.Printf("%s: %d bytes of %v, held-out perplexity %.4f, answers right: %.1f %% "+
		"about tales, %.1f %% about the world\n", path, len(data), kind, marks.Perplexity, 100*marks.Tales, 100*marks.Facts)
	f, err := atomicfile.Create(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Commit()
}

func report(p pretrain.Progress) {
	if p.Step%20 != 0 && p.Step != 1 {
		return
	}
	fmt.Printf("step %4d of %d  loss %.4f  gradient %.3f  %.0f tokens/s  %s\n", p.Step, p.Steps, p.Loss, p.Norm,
		float64(p.Tokens)/p.Elapsed.Seconds(), p.Elapsed.Round(time.Second))
}
