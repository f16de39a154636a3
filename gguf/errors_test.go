package gguf_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/modeltest"
)

// TestErrorKinds: what is malformed, what is only not read, and what is missing can be told apart.
func TestErrorKinds(t *testing.T) {
	meta := modeltest.Meta(t, "split.no", uint16(0), "split.count", uint16(2), "split.tensors.count", int32(2))
	path := filepath.Join(t.TempDir(), "m-00001-of-00002.gguf")
	modeltest.WriteGGUF(t, path, gguf.Format{}, meta, []gguf.Tensor{{Name: "x", Shape: []int64{4}}}, nil)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	newer := append([]byte("GGUF\x63\x00\x00\x00"), whole[8:]...)
	_, missing := gguf.Open(path)
	_, malformed := gguf.Parse(whole[:40])
	_, version := gguf.Parse(newer)
	_, older := gguf.Parse([]byte("tjggabcd"))
	_, removed := gguf.ParseType("Q4_2")
	misnamed := filepath.Join(t.TempDir(), "m.gguf")
	if err := os.WriteFile(misnamed, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	_, alone := gguf.Open(misnamed)
	kinds := []error{gguf.ErrFormat, errors.ErrUnsupported, fs.ErrNotExist}
	for name, c := range map[string]struct{ err, kind error }{
		"half a file": {malformed, gguf.ErrFormat}, "another name": {alone, gguf.ErrFormat},
		"a newer version": {version, errors.ErrUnsupported}, "an older format": {older, errors.ErrUnsupported},
		"a removed type": {removed, errors.ErrUnsupported}, "a missing part": {missing, fs.ErrNotExist},
	} {
		for _, kind := range kinds {
			if errors.Is(c.err, kind) != (kind == c.kind) {
				t.Errorf("%s: %v: is %q: %v", name, c.err, kind, errors.Is(c.err, kind))
			}
		}
	}
}
