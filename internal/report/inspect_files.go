package report

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/safetensors"
)

func inspectGGUF(path string) (*Inspection, io.Closer, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, nil, err
	}
	in := &Inspection{File: path, Format: "gguf", Kind: "model", Version: f.Version, ByteOrder: "little",
		Alignment: f.Alignment, DataOffset: f.DataOffset}
	if f.Order == binary.BigEndian {
		in.ByteOrder = "big"
	}
	if kind, ok := f.Meta.String("general.type"); ok {
		in.Kind = kind
	}
	in.Architecture, _ = f.Meta.String("general.architecture")
	for key, v := range f.Meta.All() {
		in.Metadata = append(in.Metadata, entry{key, valueKind(v), v.Any()})
	}
	in.Tensors = make([]tensorLine, 0, len(f.Tensors))
	for _, t := range f.Tensors {
		in.add(tensorLine{t.Name, t.Type.String(), t.Shape, t.Offset, t.Size(), t.Elements()})
	}
	in.finish(func(t tensorLine) (int64, bool) {
		return first(t.Shape), strings.HasSuffix(t.Name, ".lora_b")
	})
	in.Size = cli.FileSize(path)
	return in, f, nil
}

// inspectSafetensors reads a file, an index, or a directory in the layout of Hugging Face's models or PEFT's adapters.
func inspectSafetensors(path string) (*Inspection, io.Closer, error) {
	weights, config := path, ""
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		config = filepath.Join(path, "config.json")
		if c := filepath.Join(path, "adapter_config.json"); cli.Exists(c) {
			config, weights = c, filepath.Join(path, "adapter_model.safetensors")
		}
	}
	f, err := safetensors.Open(weights)
	if err != nil {
		return nil, nil, err
	}
	in := &Inspection{File: path, Format: "safetensors", Kind: "model"}
	for _, key := range slices.Sorted(maps.Keys(f.Metadata)) {
		in.Metadata = append(in.Metadata, entry{key, "str", f.Metadata[key]})
	}
	in.Architecture = f.Metadata["peftconv.architecture"]
	if err := in.addConfig(config); err != nil {
		f.Close()
		return nil, nil, err
	}
	in.Tensors = make([]tensorLine, 0, len(f.Tensors))
	for _, t := range f.Tensors { // in the order of their data, which has no gaps
		in.add(tensorLine{t.Name, string(t.DType), t.Shape, uint64(in.Size), int64(len(t.Bytes())), t.Elements()})
		in.Size += int64(len(t.Bytes()))
	}
	in.findForms()
	in.finish(func(t tensorLine) (int64, bool) {
		return first(t.Shape), strings.HasSuffix(t.Name, ".lora_A.weight")
	})
	if config == "" && !strings.HasSuffix(path, ".index.json") {
		in.Size = cli.FileSize(path)
	}
	return in, f, nil
}

// findForms finds the tensors of a quantization-aware adapter of plain pairs. Bytes of blocks are no parameters.
func (in *Inspection) findForms() {
	forms, pairs := &storedForms{}, map[string]bool{}
	for i := range in.Tensors {
		t := &in.Tensors[i]
		module, part, ok := strings.Cut(t.Name, ".qat_")
		switch {
		case !ok || strings.HasPrefix(module, "optimizer."):
		case part == "blocks.weight":
			forms.Blocks, forms.BlockBytes = forms.Blocks+1, forms.BlockBytes+t.Bytes
			in.Parameters -= t.elements
			in.total(t.Type).Parameters -= t.elements
			t.elements = 0
		default:
			pairs[module] = true
			forms.PairBytes += t.Bytes
		}
	}
	forms.Pairs = len(pairs)
	if forms.Blocks+forms.Pairs > 0 {
		in.Quantized, in.Kind = forms, "adapter"
	}
}

// first is the first dimension of a shape: GGUF's fastest, the slowest of safetensors.
func first(shape []int64) int64 {
	if len(shape) == 0 {
		return 1
	}
	return shape[0]
}

// addConfig adds the fields of a directory's JSON configuration to the metadata; "" and an absent file add nothing.
func (in *Inspection) addConfig(path string) error {
	if path == "" || !cli.Exists(path) {
		return nil
	}
	data, err := infile.Read(path, infile.Config)
	if err != nil {
		return err
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		in.Metadata = append(in.Metadata, entry{key, "json", fields[key]})
	}
	if kind, ok := fields["model_type"].(string); ok {
		in.Architecture = kind
	}
	return nil
}
