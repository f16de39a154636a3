package gguf

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// FuzzParse reads anything. What can be read is written back and read again, and must be the same.
func FuzzParse(f *testing.F) {
	for version := uint32(1); version <= 3; version++ {
		f.Add(sample(f, Format{version, binary.LittleEndian}))
		f.Add(sample(f, Format{version, binary.BigEndian}))
	}
	f.Add([]byte(head(0, 0)))
	f.Add([]byte(pad32(head(2, 0)+line("a", 99, 0, 8)+line("b", F32, 64, 4), zeros(80))))
	files, err := filepath.Glob("testdata/*.gguf")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := Parse(data)
		if err != nil {
			if first != nil {
				t.Error("a file beside an error")
			}
			return
		}
		var written bytes.Buffer
		if n, err := first.WriteTo(&written); err != nil || n != int64(written.Len()) {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if want := len(data) - int(first.Extra); written.Len() != want {
			t.Errorf("%d bytes are written, expected %d", written.Len(), want)
		}
		second, err := Parse(written.Bytes())
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		sameFile(t, second, first)
	})
}

// sameFile compares two files in all that Parse gives.
func sameFile(t *testing.T, got, want *File) {
	t.Helper()
	if got.Version != want.Version || got.Order != want.Order || got.Alignment != want.Alignment ||
		got.DataOffset != want.DataOffset {
		t.Errorf("header %+v, expected %+v", got, want)
	}
	sameMetadata(t, got.Meta, want.Meta)
	if len(got.Tensors) != len(want.Tensors) {
		t.Fatalf("%d tensors, expected %d", len(got.Tensors), len(want.Tensors))
	}
	for i, w := range want.Tensors {
		g := got.Tensors[i]
		if g.Name != w.Name || g.Type != w.Type || g.Offset != w.Offset || g.Elements() != w.Elements() ||
			!bytes.Equal(g.Bytes(), w.Bytes()) {
			t.Errorf("tensor %d is %+v, expected %+v", i, g, w)
		}
	}
}
