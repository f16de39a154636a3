package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

var inspectVerb = verb{
	name:  "inspect",
	args:  "FILE",
	short: "what is in a GGUF or safetensors file: metadata, tensors, types",
	long: `Shows what is in FILE, a model or an adapter: a .gguf or .safetensors file, a .safetensors.index.json, or a directory
in Hugging Face's layout. It prints the metadata and, for each type of tensor, how many weights and bytes there are;
--tensors adds the table of tensors. Shapes are printed as the file has them: the fastest dimension comes first in
GGUF, last in safetensors. Offsets count bytes from the beginning of the file's tensor data.`,
	examples: []string{
		"peftconv inspect model.gguf",
		"peftconv inspect out.safetensors --tensors",
		"peftconv inspect model.gguf --key tokenizer.chat_template",
		"peftconv inspect model.gguf --json | jq '.tensors[] | select(.type == \"Q4_K\") | .name'",
	},
	new: func() command { return new(inspectOptions) },
}

type inspectOptions struct {
	file    string
	json    bool
	tensors bool
	key     string
}

func (o *inspectOptions) flags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.tensors, "tensors", false, "list every tensor with its type, shape, offset and size")
	fs.StringVar(&o.key, "key", "", "print the whole value of one metadata `KEY` and nothing else")
	fs.BoolVar(&o.json, "json", false, "print one JSON document, always with all tensors")
}

func (o *inspectOptions) validate(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("expected one FILE, found %d arguments", len(args))
	}
	o.file = args[0]
	if o.json && o.key != "" {
		return errors.New("--key: prints one value and cannot be combined with --json")
	}
	return nil
}

func (o *inspectOptions) run(_ context.Context, s streams) error {
	found, closer, err := openInspection(o.file)
	if err != nil {
		return err
	}
	defer closer.Close()
	switch {
	case o.json:
		return printJSON(s.out, found)
	case o.key != "":
		return found.printKey(s.out, o.key)
	}
	found.print(s.out, o.tensors)
	return nil
}

// inspection is what inspect found in a file; as JSON it is the verb's document.
type inspection struct {
	File         string         `json:"file"`
	Format       string         `json:"format"`       // gguf or safetensors
	Kind         string         `json:"kind"`         // model, adapter, or what general.type says
	Architecture string         `json:"architecture"` // "" where the file does not say
	Version      uint32         `json:"version,omitempty"`
	ByteOrder    string         `json:"byte_order,omitempty"`
	Alignment    int64          `json:"alignment,omitempty"`
	DataOffset   int64          `json:"data_offset,omitempty"` // of the tensor data, from the beginning of the file
	Size         int64          `json:"size"`                  // bytes of the file, or of all its shards
	Parameters   int64          `json:"parameters"`
	Types        []typeTotal    `json:"types"`
	Adapter      *adapterShape  `json:"adapter,omitempty"`
	Metadata     orderedEntries `json:"metadata"`
	Tensors      []tensorLine   `json:"tensors"`
}

// typeTotal sums the tensors of one type.
type typeTotal struct {
	Type       string `json:"type"`
	Tensors    int    `json:"tensors"`
	Parameters int64  `json:"parameters"`
	Bytes      int64  `json:"bytes"`
}

// tensorLine is one tensor of the table.
type tensorLine struct {
	Name   string  `json:"name"`
	Type   string  `json:"type"`
	Shape  []int64 `json:"shape"`
	Offset uint64  `json:"offset"`
	Bytes  int64   `json:"bytes"`

	elements int64
}

// adapterShape sums up the low-rank pairs of an adapter.
type adapterShape struct {
	Modules int     `json:"modules"`
	Ranks   []int64 `json:"ranks"` // each rank that occurs, ascending
}

// entry is one piece of metadata.
type entry struct {
	key   string
	kind  string // the value's type as the file names it
	value any
}

// orderedEntries is metadata in the file's order; as JSON an object whose keys keep it.
type orderedEntries []entry

// MarshalJSON keeps the order, which a map would lose.
func (es orderedEntries) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, e := range es {
		if i > 0 {
			b.WriteByte(',')
		}
		key, _ := json.Marshal(e.key)
		value, err := json.Marshal(jsonValue(e.value))
		if err != nil {
			return nil, fmt.Errorf("metadata %q: %w", e.key, err)
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// jsonValue replaces what JSON cannot hold: numbers that are not finite become strings, bytes become numbers.
func jsonValue(v any) any {
	switch v := v.(type) {
	case float32:
		return finite(v)
	case float64:
		return finite(v)
	case []float32:
		return mapSlice(v, finite[float32])
	case []float64:
		return mapSlice(v, finite[float64])
	case []uint8:
		return mapSlice(v, func(b uint8) any { return int(b) })
	case []any:
		return mapSlice(v, jsonValue)
	}
	return v
}

func finite[F float32 | float64](f F) any {
	if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
		return fmt.Sprint(f)
	}
	return f
}

func mapSlice[T any](in []T, f func(T) any) []any {
	out := make([]any, len(in))
	for i, v := range in {
		out[i] = f(v)
	}
	return out
}

// openInspection looks at a file's first bytes to see what it is, and reads it.
func openInspection(path string) (*inspection, io.Closer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if info.IsDir() || strings.HasSuffix(path, ".index.json") {
		return inspectSafetensors(path)
	}
	head, err := readHead(path, 9)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case len(head) >= 4 && string(head[:4]) == "GGUF":
		return inspectGGUF(path)
	case len(head) == 9 && head[8] == '{' || filepath.Ext(path) == ".safetensors":
		return inspectSafetensors(path)
	}
	return nil, nil, fmt.Errorf("%s: neither GGUF nor safetensors: it begins with %q, expected \"GGUF\" or a safetensors header",
		path, head[:min(len(head), 4)])
}

// readHead reads the first n bytes of a file, or all of a shorter one.
func readHead(path string, n int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, n)
	n, err = io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return head[:n], nil
}

// add counts a tensor in.
func (in *inspection) add(t tensorLine) {
	in.Tensors = append(in.Tensors, t)
	in.Parameters += t.elements
	i := slices.IndexFunc(in.Types, func(k typeTotal) bool { return k.Type == t.Type })
	if i < 0 {
		i = len(in.Types)
		in.Types = append(in.Types, typeTotal{Type: t.Type})
	}
	in.Types[i].Tensors++
	in.Types[i].Parameters += t.elements
	in.Types[i].Bytes += t.Bytes
}

// finish derives what depends on all tensors.
func (in *inspection) finish(rank func(t tensorLine) (int64, bool)) {
	slices.SortStableFunc(in.Types, func(a, b typeTotal) int { return int(min(max(b.Bytes-a.Bytes, -1), 1)) })
	shape := adapterShape{Ranks: []int64{}}
	for _, t := range in.Tensors {
		if r, ok := rank(t); ok {
			shape.Modules++
			shape.Ranks = append(shape.Ranks, r)
		}
	}
	if shape.Modules == 0 {
		return
	}
	slices.Sort(shape.Ranks)
	shape.Ranks = slices.Compact(shape.Ranks)
	in.Adapter = &shape
	if in.Kind == "model" {
		in.Kind = "adapter"
	}
}

// printKey prints one value raw.
func (in *inspection) printKey(w io.Writer, key string) error {
	keys := make([]string, 0, len(in.Metadata))
	for _, e := range in.Metadata {
		if e.key == key {
			if _, isString := e.value.(string); isString {
				_, err := fmt.Fprintln(w, e.value)
				return err
			}
			return printJSON(w, jsonValue(e.value))
		}
		keys = append(keys, e.key)
	}
	if near := nearest(key, keys); near != "" {
		return fmt.Errorf("%s: no metadata key %q; did you mean %q?", in.File, key, near)
	}
	return fmt.Errorf("%s: no metadata key %q among its %d", in.File, key, len(keys))
}
