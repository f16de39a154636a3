package gguf_test

import (
	"bytes"
	"fmt"
	"log"

	"github.com/peftconv/peftconv/gguf"
)

// small is a file with one tensor, as another program would have written it.
func small() []byte {
	meta := &gguf.Metadata{}
	for _, kv := range []struct {
		key   string
		value any
	}{
		{"general.architecture", "llama"},
		{"llama.block_count", uint32(2)},
		{"tokenizer.ggml.tokens", []string{"<s>", "</s>", "a"}},
	} {
		if err := meta.Set(kv.key, kv.value); err != nil {
			log.Fatal(err)
		}
	}
	var b bytes.Buffer
	w, err := gguf.NewWriter(&b, meta, []gguf.Tensor{{Name: "token_embd.weight", Shape: []int64{32, 3}, Type: gguf.Q8_0}})
	if err != nil {
		log.Fatal(err)
	}
	if err := w.WriteTensor("token_embd.weight", make([]byte, 3*34)); err != nil {
		log.Fatal(err)
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}
	return b.Bytes()
}

func ExampleParse() {
	f, err := gguf.Parse(small()) // gguf.Open for a file on disk
	if err != nil {
		fmt.Println(err)
		return
	}
	for key, value := range f.Meta.All() {
		fmt.Printf("%s (%v): %v\n", key, value.Type(), value)
	}
	for _, t := range f.Tensors {
		fmt.Printf("%s %v %v, %d bytes\n", t.Name, t.Type, t.Shape, t.Size())
	}
	layers, ok := f.Meta.Uint("llama.block_count")
	fmt.Println(layers, ok)
	// Output:
	// general.architecture (str): "llama"
	// llama.block_count (u32): 2
	// tokenizer.ggml.tokens (arr): ["<s>", "</s>", "a"]
	// token_embd.weight Q8_0 [32 3], 102 bytes
	// 2 true
}

func ExampleParse_malformed() {
	_, err := gguf.Parse(small()[:300])
	fmt.Println(err)
	// Output:
	// gguf: tensor "token_embd.weight" at byte 0xb3: its 102 bytes of data end at 358, beyond the file's 300 bytes (is it complete?)
}

// The tensors of a file are copied in pieces, with other metadata before them.
func ExampleNewWriter() {
	f, err := gguf.Parse(small())
	if err != nil {
		fmt.Println(err)
		return
	}
	meta := f.Meta.Clone()
	if err := meta.Set("general.name", "copy"); err != nil {
		fmt.Println(err)
		return
	}
	var out bytes.Buffer
	w, err := gguf.NewWriter(&out, meta, f.Table())
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, t := range f.Tensors {
		if err := w.Begin(t.Name); err != nil {
			fmt.Println(err)
			return
		}
		rowSize := t.Size() / t.Rows()
		for i := range t.Rows() {
			if _, err := w.Write(t.Bytes()[i*rowSize : (i+1)*rowSize]); err != nil {
				fmt.Println(err)
				return
			}
		}
	}
	fmt.Println(w.Close(), int64(out.Len()) == w.Size())
	// Output: <nil> true
}
