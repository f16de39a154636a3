package safetensors

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
)

// TestErrorKinds: what is malformed, what is only not handled, and what is missing can be told apart.
func TestErrorKinds(t *testing.T) {
	whole := sample(t)
	_, malformed := Parse(whole[:20])
	f, err := Parse(whole)
	if err != nil {
		t.Fatal(err)
	}
	_, unsupported := f.Tensor("tensor." + string(I32)).Float32s()
	dir := t.TempDir()
	_, empty := Open(dir)
	index := filepath.Join(dir, "model.safetensors.index.json")
	text(t, index, `{"metadata": {}, "weight_map": {"x": "model-00001-of-00001.safetensors"}}`)
	_, missing := Open(index)
	text(t, index, "\xff")
	_, noUTF8 := Open(index)
	for name, c := range map[string]struct{ err, kind error }{
		"half a header": {malformed, ErrFormat}, "an index that is no text": {noUTF8, ErrFormat},
		"integers as floats": {unsupported, errors.ErrUnsupported},
		"an empty directory": {empty, fs.ErrNotExist}, "a missing part": {missing, fs.ErrNotExist},
	} {
		for _, kind := range []error{ErrFormat, errors.ErrUnsupported, fs.ErrNotExist} {
			if errors.Is(c.err, kind) != (kind == c.kind) {
				t.Errorf("%s: %v: is %q: %v", name, c.err, kind, errors.Is(c.err, kind))
			}
		}
	}
}
