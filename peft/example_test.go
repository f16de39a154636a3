package peft_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/peftconv/peftconv/internal/demo"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/eval"
	"github.com/peftconv/peftconv/peft/export"
	"github.com/peftconv/peftconv/peft/generate"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/peft/train"
)

// Fine-tune a GGUF file in place, merge the adapter into a file of the same types and size, and write the adapter
// for llama.cpp. The model and the data are those of peftconv demo.
func Example() {
	dir, err := os.MkdirTemp("", "peftconv-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := demo.WriteFiles(dir); err != nil {
		log.Fatal(err)
	}
	base, err := peft.OpenBase(filepath.Join(dir, "base.gguf"))
	if err != nil {
		log.Fatal(err)
	}
	defer base.Close()
	adapter, err := peft.New(base, method.LoRA{Rank: 4, Targets: []string{"attention"}, Layers: "last:2"})
	if err != nil {
		log.Fatal(err)
	}
	data, err := peft.LoadData(filepath.Join(dir, "train.jsonl"), base, peft.DataOptions{SeqLen: 256})
	if err != nil {
		log.Fatal(err)
	}
	held, err := peft.LoadData(filepath.Join(dir, "eval.jsonl"), base, peft.DataOptions{SeqLen: 256})
	if err != nil {
		log.Fatal(err)
	}
	sample, err := held.Sample(2000)
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	file := filepath.Join(dir, "out.safetensors")
	result, err := train.Run(ctx, base, adapter, data, sample, train.Options{
		Steps: 12, BatchTokens: 256, LR: 5e-3, Schedule: train.ScheduleCosine, WarmupRatio: 0.1, Clip: 1, Out: file,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %d steps, better than the base: %v\n", adapter.Describe(), result.Steps,
		*result.EvalLoss < *result.BaseLoss)

	trained := []peft.Scaled{{Adapter: adapter, Scale: 1}}
	merged := filepath.Join(dir, "merged.gguf")
	report, err := merge.Run(ctx, base, trained, merged, merge.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("merged: %d tensors changed, %d copied\n", len(report.Tensors), report.Copied)

	lora, err := export.LoRA(adapter, base, filepath.Join(dir, "lora.gguf"), export.LoRAOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("exported: %d pairs, exact: %v\n", len(lora.Tensors), lora.Error == 0)
	// Output:
	// LoRA of rank 4 on 8 weights: 12 steps, better than the base: true
	// merged: 8 tensors changed, 39 copied
	// exported: 8 pairs, exact: true
}

// Resume after Ctrl-C: cancel the context, keep the checkpoint, give it to the next run.
func Example_resume() {
	var base *peft.Base       // from OpenBase
	var adapter *peft.Adapter // as the first run had it
	var data *peft.Data       // the same data
	opt := train.Options{Epochs: 3, Out: "out.safetensors"}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // by a signal
	_, err := train.Run(ctx, base, adapter, data, nil, opt)
	if stop := new(train.Interrupted); errors.As(err, &stop) {
		opt.Resume = stop.Checkpoint
		_, err = train.Run(context.Background(), base, adapter, data, nil, opt)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// Load an adapter that HF PEFT trained, try it, and hand it to llama.cpp.
func ExampleLoad() {
	base, err := peft.OpenBase("model.gguf")
	if err != nil {
		log.Fatal(err)
	}
	defer base.Close()
	adapter, err := peft.Load("adapter") // a directory, or a file made by Save
	if err != nil {
		log.Fatal(err)
	}
	loaded := []peft.Scaled{{Adapter: adapter, Scale: 1}}
	emit := func(piece string) { fmt.Print(piece) }
	if _, err = generate.Run(context.Background(), base, loaded, "Once upon a time", generate.Options{N: 64},
		emit); err != nil {
		log.Fatal(err)
	}
	if err := export.GGUF(adapter, base, "adapter.gguf"); err != nil {
		log.Fatal(err)
	}
}

// What is not supported is refused by name, never ignored, and told apart from a damaged file.
func ExampleLoad_unsupported() {
	dir, err := os.MkdirTemp("", "peftconv-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	base, adapter := builtIn(dir)
	defer base.Close()
	if err := adapter.SaveDir(filepath.Join(dir, "adapter")); err != nil {
		log.Fatal(err)
	}
	config := `{"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"], "use_qalora": true}`
	if err := os.WriteFile(filepath.Join(dir, "adapter", "adapter_config.json"), []byte(config), 0o600); err != nil {
		log.Fatal(err)
	}
	_, err = peft.Load(filepath.Join(dir, "adapter"))
	fmt.Println(errors.Is(err, peft.ErrUnsupported), errors.Is(err, peft.ErrBadFile))
	// Output: true false
}

// Make an adapter of another method, and save it in HF PEFT's layout.
func ExampleNew() {
	dir, err := os.MkdirTemp("", "peftconv-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	base, _ := builtIn(dir)
	defer base.Close()
	for _, opt := range []method.Options{
		method.LoRA{DoRA: true}, method.IA3{}, method.PrefixTuning{PromptTuning: method.PromptTuning{VirtualTokens: 8}},
	} {
		adapter, err := peft.New(base, opt)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s\n", opt.Method(), adapter.Describe())
		if err := adapter.SaveDir(filepath.Join(dir, opt.Method())); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// lora: DoRA of rank 8 on 35 weights
	// ia3: (IA)³ with a vector on 15 weights
	// prefix-tuning: 8 keys and values before each attention
}

// Measure an importance matrix of the base, for quantizing it.
func ExampleBase_TokenizeFile() {
	dir, err := os.MkdirTemp("", "peftconv-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	base, _ := builtIn(dir)
	defer base.Close()
	text := filepath.Join(dir, "text.txt")
	if err := os.WriteFile(text, demo.OwlTextTrain()[:4000], 0o600); err != nil {
		log.Fatal(err)
	}
	ids, err := base.TokenizeFile(text)
	if err != nil {
		log.Fatal(err)
	}
	m, err := eval.Importance(context.Background(), base, ids, eval.ImportanceOptions{Ctx: 64, Chunks: 4})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(m.Entries()), "matrices,", m.Chunks, "windows of", m.ChunkSize)
	// Output: 35 matrices, 4 windows of 64
}

func ExampleParseLayers() {
	for _, spec := range []string{"first:2", "last:3", "0,4-6"} {
		layers, err := peft.ParseLayers(spec, 10)
		fmt.Println(layers, err)
	}
	// Output:
	// [0 1] <nil>
	// [7 8 9] <nil>
	// [0 4 5 6] <nil>
}

// builtIn writes the built-in model to a directory, opens it and makes a LoRA for it.
func builtIn(dir string) (*peft.Base, *peft.Adapter) {
	path := filepath.Join(dir, "base.gguf")
	if err := os.WriteFile(path, demo.BaseGGUF(), 0o600); err != nil {
		log.Fatal(err)
	}
	base, err := peft.OpenBase(path)
	if err != nil {
		log.Fatal(err)
	}
	adapter, err := peft.New(base, method.LoRA{})
	if err != nil {
		log.Fatal(err)
	}
	return base, adapter
}
