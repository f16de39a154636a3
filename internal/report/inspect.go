package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/infile"
)

// Inspection is what inspect found in a file; as JSON it is the verb's document.
type Inspection struct {
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
	Quantized    *storedForms   `json:"qat,omitempty"`
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

// storedForms sums up what a quantization-aware adapter of plain pairs has of its weights.
type storedForms struct {
	Blocks     int   `json:"blocks"` // weights of which it has blocks
	BlockBytes int64 `json:"block_bytes"`
	Pairs      int   `json:"pairs"` // weights of which it has the matrices that were trained
	PairBytes  int64 `json:"pair_bytes"`
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

// OpenInspection looks at a file's first bytes to see what it is, and reads it.
func OpenInspection(path string) (*Inspection, io.Closer, error) {
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
	return nil, nil,
		fmt.Errorf("%s: neither GGUF nor safetensors: it begins with %q, expected \"GGUF\" or a safetensors header",
			path, head[:min(len(head), 4)])
}

// readHead reads the first n bytes of a file, or all of a shorter one.
func readHead(path string, n int) ([]byte, error) {
	f, err := infile.Open(path)
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
func (in *Inspection) add(t tensorLine) {
	in.Tensors = append(in.Tensors, t)
	in.Parameters += t.elements
	k := in.total(t.Type)
	k.Tensors++
	k.Parameters += t.elements
	k.Bytes += t.Bytes
}

// total is the entry of a type.
func (in *Inspection) total(name string) *typeTotal {
	i := slices.IndexFunc(in.Types, func(k typeTotal) bool { return k.Type == name })
	if i < 0 {
		i = len(in.Types)
		in.Types = append(in.Types, typeTotal{Type: name})
	}
	return &in.Types[i]
}

// finish derives what depends on all tensors.
func (in *Inspection) finish(rank func(t tensorLine) (int64, bool)) {
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

// PrintKey prints one value raw.
func (in *Inspection) PrintKey(w io.Writer, key string) error {
	keys := make([]string, 0, len(in.Metadata))
	for _, e := range in.Metadata {
		if e.key == key {
			if _, isString := e.value.(string); isString {
				_, err := fmt.Fprintln(w, e.value)
				return err
			}
			return cli.PrintJSON(w, jsonValue(e.value))
		}
		keys = append(keys, e.key)
	}
	if near := cli.Nearest(key, keys); near != "" {
		return fmt.Errorf("%s: no metadata key %q; did you mean %q?", in.File, key, near)
	}
	return fmt.Errorf("%s: no metadata key %q among its %d", in.File, key, len(keys))
}
