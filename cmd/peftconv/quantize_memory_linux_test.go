package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/cli"
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
