package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/gguf"
)

// TestQuantizeMemory quantizes a model much larger than what it may hold at a time: with PEFTCONV_LONG set one of 4 GB.
func TestQuantizeMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes large files")
	}
	const limit = 100 << 20
	layers := 6
	if os.Getenv("PEFTCONV_LONG") != "" {
		layers = 32
	}
	in := emptyLayers(t, layers)
	peak := watch(t, exitOK, "quantize", in, filepath.Join(t.TempDir(), "out.gguf"), "Q4_0")
	t.Logf("a model of %s: %s of memory", bytesText(fileSize(in)), bytesText(peak))
	if peak > limit {
		t.Errorf("a model of %s took %s of memory, expected at most %s", bytesText(fileSize(in)), bytesText(peak), bytesText(limit))
	}
}

// emptyLayers makes a model of matrices of 64 Mi weights in F16 that are zero, which take no space on the disk.
func emptyLayers(t *testing.T, n int) string {
	t.Helper()
	var table []gguf.Tensor
	for i := range n {
		table = append(table, gguf.Tensor{Name: fmt.Sprintf("blk.%d.ffn_up.weight", i), Shape: []int64{4096, 16384}, Type: gguf.F16})
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
