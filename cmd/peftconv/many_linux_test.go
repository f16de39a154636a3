package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/cli"
)

// TestManyTensors has files with 300,000 tensors that hold nothing, or a number each: 20 MB of headers. What is in
// memory for a tensor is counted in hundreds of bytes.
func TestManyTensors(t *testing.T) {
	if testing.Short() {
		t.Skip("reads large headers")
	}
	const tensors = 300_000
	dir := t.TempDir()
	var header bytes.Buffer
	var table []gguf.Tensor
	for i := range tensors {
		fmt.Fprintf(&header, `,"t.%06d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}`, i)
		table = append(table, gguf.Tensor{Name: fmt.Sprintf("t.%06d", i), Shape: []int64{1}, Type: gguf.F32})
	}
	header.WriteByte('}')
	header.Bytes()[0] = '{'
	empty, single := filepath.Join(dir, "m.safetensors"), filepath.Join(dir, "m.gguf")
	data := append(binary.LittleEndian.AppendUint64(nil, uint64(header.Len())), header.Bytes()...)
	if err := os.WriteFile(empty, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	w, err := gguf.NewWriter(&file, nil, table)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(single, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(single, w.Size()); err != nil {
		t.Fatal(err)
	}
	const mebibyte = 1 << 20
	for _, c := range []struct {
		status int
		limit  int64
		args   []string
	}{
		{cli.ExitOK, 150 * mebibyte, []string{"inspect", empty}},
		{cli.ExitOK, 150 * mebibyte, []string{"inspect", "--json", empty}},
		{cli.ExitOK, 150 * mebibyte, []string{"inspect", "--tensors", single}},
		{cli.ExitOK, 160 * mebibyte, []string{"verify", empty}},
		{cli.ExitError, 160 * mebibyte, []string{"verify", "--json", single}}, // it has no architecture
		{cli.ExitOK, 220 * mebibyte, []string{"diff", empty, empty}},          // which are two files
	} {
		peak := watch(t, c.status, c.args...)
		t.Logf("%v: %s", c.args[:len(c.args)-1], cli.BytesText(peak))
		if peak > c.limit {
			t.Errorf("%v: %s, expected at most %s", c.args, cli.BytesText(peak), cli.BytesText(c.limit))
		}
	}
}
