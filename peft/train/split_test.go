package train

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/pefttest/merging"
	"github.com/peftconv/peftconv/peft/export"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/method"
)

// splitInTwo writes a GGUF file again as two, and gives the path of the first.
func splitInTwo(t *testing.T, path string) string {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table := f.Table()
	half := len(table) / 2
	prefix := filepath.Join(t.TempDir(), "split")
	for i, tensors := range [][]gguf.Tensor{table[:half], table[half:]} {
		meta, err := gguf.SplitMetadata(f.Meta, i, 2, len(table))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		w, err := gguf.NewWriter(&out, meta, tensors)
		if err != nil {
			t.Fatal(err)
		}
		for _, tensor := range tensors {
			if err := w.WriteTensor(tensor.Name, f.Tensor(tensor.Name).Bytes()); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(fmt.Sprintf("%s-%05d-of-00002.gguf", prefix, i+1), out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return prefix + "-00001-of-00002.gguf"
}

// TestSplitBase: a base in two files is trained and merged as one in one file is, and the result is one file.
func TestSplitBase(t *testing.T) {
	whole := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	split := pefttest.OpenBase(t, splitInTwo(t, whole.Path))
	var merged [2]*attach.Base
	for i, b := range []*attach.Base{whole, split} {
		out, _ := merging.Into(t, b, merge.Options{},
			attach.Scaled{Adapter: pefttest.Trained(t, b, method.LoRA{Rank: 2, Seed: 1}), Scale: 1})
		merged[i] = pefttest.OpenBase(t, out)
	}
	for _, x := range merged[0].GGUF.Tensors {
		if y := merged[1].GGUF.Tensor(x.Name); y == nil || !bytes.Equal(x.Bytes(), y.Bytes()) {
			t.Errorf("%s is another over the base in two files", x.Name)
		}
	}
	if merged[1].GGUF.Shards != nil {
		t.Errorf("the merged model is in files %v", merged[1].GGUF.Shards)
	}
	if a, b := merged[0].GGUF.Meta.Len(), merged[1].GGUF.Meta.Len(); a != b {
		t.Errorf("%d metadata, over the base in two files %d", a, b)
	}
	one, err := split.SHA256()
	if err != nil {
		t.Fatal(err)
	}
	if all, err := whole.SHA256(); err != nil || one != all {
		t.Errorf("the same weights in two files have the hash %s, in one %s (%v)", one, all, err)
	}
	grown := filepath.Join(t.TempDir(), "grown.gguf")
	if err := export.AddTokens(pefttest.Base(split), []string{"<x>"}, grown); err != nil {
		t.Fatal(err)
	}
	if b := pefttest.OpenBase(t, grown); b.GGUF.Shards != nil {
		t.Errorf("with a token more the model is in files %v", b.GGUF.Shards)
	}
}
