package safetensors

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/testdata"
)

// items is a file's tensors as Write takes them.
func items(f *File) []Item {
	var list []Item
	for _, t := range f.Tensors {
		list = append(list, Item{t.Name, t.DType, t.Shape, t.Bytes()})
	}
	return list
}

// TestRealFiles reads files that the reference library wrote and writes them again: the same bytes must come out.
func TestRealFiles(t *testing.T) {
	root := testdata.Shared(t, "peft")
	n := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".safetensors") {
			return err
		}
		n++
		f, err := Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		want, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var got bytes.Buffer
		if err := Write(&got, f.Metadata, items(f)); err != nil {
			return err
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: what is written differs from what was read", strings.TrimPrefix(path, root))
		}
		return nil
	})
	if err != nil || n < 20 {
		t.Errorf("%d files, %v", n, err)
	}
}
