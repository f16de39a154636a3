package peft_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"

	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/export"
	"github.com/peftconv/peftconv/peft/generate"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/train"
)

// Fine-tune a GGUF file where it lies, then merge the adapter into a file of the same types and size.
func Example() {
	base, err := peft.OpenBase("model.Q4_K_M.gguf")
	if err != nil {
		log.Fatal(err)
	}
	defer base.Close()
	adapter, err := peft.NewLoRA(base, peft.LoRAOptions{Rank: 16, Targets: []string{"attention"}, Layers: "last:8"})
	if err != nil {
		log.Fatal(err)
	}
	data, err := peft.LoadData("train.jsonl", base, peft.DataOptions{SeqLen: 512})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	result, err := train.Run(ctx, base, adapter, data, nil, train.Options{
		Epochs: 1, LR: 2e-4, Schedule: train.ScheduleCosine, WarmupRatio: 0.03, Clip: 1, Out: "out.safetensors",
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d steps, %.0f tokens a second\n", result.Steps, result.TokensPerSecond)

	report, err := merge.Run(ctx, base, []peft.Scaled{{Adapter: adapter, Scale: 1}}, "merged.gguf", merge.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.0f %% of the change survived the rounding\n", 100*report.Recovery)
}

// Go on after Ctrl-C: cancel the context, keep the checkpoint, give it to the next run.
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
	_, err = generate.Run(context.Background(), base, []peft.Scaled{{Adapter: adapter, Scale: 1}}, "Once upon a time",
		generate.Options{N: 64}, func(piece string) { fmt.Print(piece) })
	if err != nil {
		log.Fatal(err)
	}
	if err := export.GGUF(adapter, base, "adapter.gguf"); err != nil {
		log.Fatal(err)
	}
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

// What is not supported is refused by name, never ignored.
func Example_config() {
	var c peft.Config
	err := json.Unmarshal([]byte(`{"peft_type": "LORA", "r": 8, "target_modules": ["q_proj", "v_proj"], "use_qalora": true}`), &c)
	fmt.Println(err)
	err = json.Unmarshal([]byte(`{"peft_type": "LORA", "r": 8, "target_modules": ["q_proj", "v_proj"], "use_qalora": false}`), &c)
	fmt.Println(c.Targets.Match("model.layers.0.self_attn.q_proj"), err)
	// Output:
	// not supported: use_qalora = true
	// true <nil>
}
