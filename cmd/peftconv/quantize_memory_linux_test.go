package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/safetensors"
)

// TestQuantizeMemory quantizes a model much larger than what it may hold at a time: with PEFTCONV_LONG set one of 4 GB,
// to a mixture of types; otherwise one to a type that takes little time.
func TestQuantizeMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes large files")
	}
	const limit = 100 << 20
	layers, to := 6, "Q4_0"
	if os.Getenv("PEFTCONV_LONG") != "" {
		layers, to = 32, "Q4_K_M"
	}
	in := emptyLayers(t, layers)
	start := time.Now()
	peak := watch(t, cli.ExitOK, "quantize", in, filepath.Join(t.TempDir(), "out.gguf"), to)
	t.Logf("a model of %s to %s: %s of memory, %v", cli.BytesText(cli.FileSize(in)), to, cli.BytesText(peak),
		time.Since(start).Round(time.Second/10))
	if peak > limit {
		t.Errorf("a model of %s took %s of memory, expected at most %s", cli.BytesText(cli.FileSize(in)), cli.BytesText(peak),
			cli.BytesText(limit))
	}
}

// emptyLayers makes a model of matrices of 64 Mi weights in F16 that are zero, which take no space on the disk.
func emptyLayers(t *testing.T, n int) string {
	t.Helper()
	var table []gguf.Tensor
	for i := range n {
		table = append(table, gguf.Tensor{Name: fmt.Sprintf("blk.%d.ffn_up.weight", i), Shape: []int64{4096, 16384},
			Type: gguf.F16})
	}
	var header bytes.Buffer
	w, err := gguf.NewWriter(&header, nil, table)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "layers.gguf")
	if err := os.WriteFile(path, header.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, w.Size()); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestConvertMemory converts a directory much larger than what a conversion may hold at a time.
func TestConvertMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes large files")
	}
	const limit = 100 << 20
	layers, to := 2, "Q4_0"
	if os.Getenv("PEFTCONV_LONG") != "" {
		layers, to = 8, "Q4_K_M"
	}
	dir, size := emptyDirectory(t, layers)
	start := time.Now()
	peak := watch(t, cli.ExitOK, "convert", dir, "--out", filepath.Join(t.TempDir(), "out.gguf"), "--type", to,
		"--pre-tokenizer", "auto")
	t.Logf("a directory of %s to %s: %s of memory, %v", cli.BytesText(size), to, cli.BytesText(peak),
		time.Since(start).Round(time.Second/10))
	if peak > limit {
		t.Errorf("a directory of %s took %s of memory, expected at most %s", cli.BytesText(size), cli.BytesText(peak),
			cli.BytesText(limit))
	}
}

// emptyDirectory makes a Hugging Face directory of a llama of that many wide layers, whose weights in F16 are zero and
// take no space on the disk. It gives the size of the weights too.
func emptyDirectory(t *testing.T, layers int) (dir string, size int64) {
	t.Helper()
	const width, inner = 4096, 16384
	dir = filepath.Join(t.TempDir(), "hf")
	want(t, cli.ExitOK, "convert", tinyBase(t, tiny), "--to", "hf", "--out", dir)
	config := map[string]any{}
	path := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &config)
	}
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(config, map[string]any{"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers,
		"num_attention_heads": 32, "num_key_value_heads": 32})
	delete(config, "head_dim")
	if text, err = json.Marshal(config); err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	var table []safetensors.Tensor
	add := func(name string, shape ...int64) {
		table = append(table, safetensors.Tensor{Name: name + ".weight", DType: safetensors.F16, Shape: shape})
	}
	vocab := int64(config["vocab_size"].(float64))
	add("lm_head", vocab, width)
	add("model.embed_tokens", vocab, width)
	add("model.norm", width)
	for i := range layers {
		in := fmt.Sprintf("model.layers.%d.", i)
		for name, shape := range map[string][]int64{
			"input_layernorm": {width}, "post_attention_layernorm": {width}, "self_attn.q_proj": {width, width},
			"self_attn.k_proj": {width, width}, "self_attn.v_proj": {width, width}, "self_attn.o_proj": {width, width},
			"mlp.gate_proj": {inner, width}, "mlp.up_proj": {inner, width}, "mlp.down_proj": {width, inner},
		} {
			add(in+name, shape...)
		}
	}
	var header bytes.Buffer
	w, err := safetensors.NewWriter(&header, nil, table)
	if err == nil {
		path = filepath.Join(dir, "model.safetensors")
		err = errors.Join(os.WriteFile(path, header.Bytes(), 0o600), os.Truncate(path, w.Size()))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir, w.Size()
}
