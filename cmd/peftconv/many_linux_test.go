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

// TestManyTensors has files with 300,000 tensors that hold nothing, or a number each: 20 MB of headers. What a verb
// holds for a tensor is counted in hundreds of bytes, whatever it does.
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
	const limit = 150 << 20
	parts := filepath.Join(dir, "parts")
	for _, c := range []struct {
		status int
		args   []string
	}{
		{cli.ExitOK, []string{"inspect", empty}},
		{cli.ExitOK, []string{"inspect", "--json", empty}},
		{cli.ExitOK, []string{"inspect", "--tensors", single}},
		{cli.ExitOK, []string{"verify", empty}},
		{cli.ExitError, []string{"verify", single}}, // it has no architecture
		{cli.ExitError, []string{"verify", "--json", single}},
		{cli.ExitOK, []string{"verify", "--hashes", empty}},
		{cli.ExitError, []string{"verify", "--hashes", single}},
		{cli.ExitOK, []string{"diff", empty, empty}}, // which are two files
		{cli.ExitOK, []string{"diff", single, single}},
		{cli.ExitOK, []string{"quantize", single, filepath.Join(dir, "q.gguf"), "Q8_0"}},
		{cli.ExitOK, []string{"split", single, parts, "--max-size", "5M"}},
		{cli.ExitOK, []string{"join", gguf.SplitPath(parts, 0, 2), filepath.Join(dir, "j.gguf")}},
		{cli.ExitOK, []string{"edit", single, "--set", "x.y=z", "--out", filepath.Join(dir, "e.gguf")}},
		{cli.ExitOK, []string{"edit", single, "--set", "x.y=a longer text"}}, // the file is written anew
		{cli.ExitOK, []string{"edit", single, "--set", "x.y=text"}},          // its header is
	} {
		peak := watch(t, c.status, c.args...)
		t.Logf("%v: %s", c.args, cli.BytesText(peak))
		if peak > limit {
			t.Errorf("%v: %s, expected at most %s", c.args, cli.BytesText(peak), cli.BytesText(limit))
		}
	}
}
