package quantize_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/quantize"
)

// model writes a model of one layer's feed-forward part in F32 to a file.
func model(path string) error {
	meta := &gguf.Metadata{}
	for key, value := range map[string]any{"general.architecture": "llama", "llama.block_count": uint32(1)} {
		if err := meta.Set(key, value); err != nil {
			return err
		}
	}
	tensors := []gguf.Tensor{
		{Name: "blk.0.ffn_down.weight", Shape: []int64{512, 256}},
		{Name: "blk.0.ffn_norm.weight", Shape: []int64{256}},
		{Name: "blk.0.ffn_up.weight", Shape: []int64{256, 512}},
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	w, err := gguf.NewWriter(file, meta, tensors)
	if err != nil {
		return err
	}
	for i := range tensors {
		if err := w.WriteTensor(tensors[i].Name, make([]byte, tensors[i].Size())); err != nil {
			return err
		}
	}
	return w.Close()
}

// A model is written in another type: first what will become of it is planned, then it is written.
func Example() {
	dir, err := os.MkdirTemp("", "quantize")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	in, out := filepath.Join(dir, "model.gguf"), filepath.Join(dir, "model-q4.gguf")
	if err := model(in); err != nil {
		log.Fatal(err)
	}

	f, err := gguf.Open(in)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	fileType, err := quantize.ParseFileType("Q4_K_M")
	if err != nil {
		log.Fatal(err)
	}
	plan, err := quantize.NewPlan(f, quantize.Options{Type: fileType})
	if err != nil {
		log.Fatal(err)
	}
	for _, t := range plan.Tensors {
		fmt.Printf("%s: %v to %v\n", t.Name, t.From, t.To)
	}
	fmt.Printf("%.2f bits a weight\n", plan.BitsPerWeight())
	if err := plan.Write(context.Background(), out, nil); err != nil {
		log.Fatal(err)
	}

	small, err := gguf.Open(out)
	if err != nil {
		log.Fatal(err)
	}
	defer small.Close()
	id, _ := small.Meta.Uint("general.file_type")
	fmt.Println("file type", id)
	// Output:
	// blk.0.ffn_down.weight: F32 to Q6_K
	// blk.0.ffn_norm.weight: F32 to F32
	// blk.0.ffn_up.weight: F32 to Q4_K
	// 5.56 bits a weight
	// file type 15
}
