package pefttest

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/safetensors"
)

// BindOne attaches an adapter to a base.
func BindOne(t *testing.T, a *attach.Adapter, b *attach.Base) model.Hooks {
	t.Helper()
	bound, err := a.Bind(b)
	if err != nil {
		t.Fatal(err)
	}
	return bound
}

// MethodNamed is a fresh adapter of one of MethodCases.
func MethodNamed(t *testing.T, b *attach.Base, name string) *attach.Adapter {
	t.Helper()
	for _, c := range MethodCases {
		if c.Name == name {
			a, err := c.New(b)
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
	}
	t.Fatalf("there is no method %s", name)
	return nil
}

// OpenTensors opens a safetensors file until the test ends.
func OpenTensors(t *testing.T, path string) *safetensors.File {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// AllLogits are the logits of every token of a batch.
func AllLogits(b *attach.Base, hooks model.Hooks, packed *batch.Batch) []float32 {
	tape := autograd.NewTape()
	tape.Record(false)
	rows := make([]int, packed.Tokens())
	for i := range rows {
		rows[i] = i
	}
	return b.Model.Logits(tape, packed, hooks, rows).Data
}

// CheckEmpty reports what is left in a directory.
func CheckEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("there is left %v, %v", entries, err)
	}
}

// Cancelled is a context that is over.
func Cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// BlocksIn is tiny with rows of 256 and its linear maps in a type.
func BlocksIn(typ gguf.Type) TinyModel {
	m := TinyModel{Width: 256, Heads: 4, KeyHeads: 2, Ffn: 256, Layers: 1}
	m.TypeOf = func(name string) gguf.Type {
		if strings.HasPrefix(name, "blk.") {
			return typ
		}
		return gguf.Q8_0
	}
	return m
}
