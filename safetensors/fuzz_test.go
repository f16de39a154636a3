package safetensors

import (
	"bytes"
	"maps"
	"slices"
	"testing"
)

// FuzzParse reads anything. What can be read is written back and read again, and must be the same.
func FuzzParse(f *testing.F) {
	f.Add(sample(f))
	f.Add([]byte(file(`{}`, "")))
	f.Add([]byte(file(`{"__metadata__":{"a":"\u00e9\n"},"b":{"dtype":"F16","shape":[],"data_offsets":[0,2]}}`, "ab")))
	f.Add([]byte(file(`{"a":{"dtype":"F4","shape":[2,1],"data_offsets":[0,1]},"b":{"dtype":"I8","shape":[0],"data_offsets":[1,1]}}  `, "x")))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := Parse(data)
		if err != nil {
			return
		}
		var written bytes.Buffer
		if err := Write(&written, first.Metadata, items(first)); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		second, err := Parse(written.Bytes())
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if !maps.Equal(first.Metadata, second.Metadata) || len(first.Tensors) != len(second.Tensors) {
			t.Errorf("metadata %q and %d tensors, expected %q and %d", second.Metadata, len(second.Tensors), first.Metadata, len(first.Tensors))
		}
		for _, a := range first.Tensors {
			b := second.Tensor(a.Name)
			if b == nil || a.DType != b.DType || !slices.Equal(a.Shape, b.Shape) || !bytes.Equal(a.Bytes(), b.Bytes()) {
				t.Errorf("tensor %+v, expected %+v", b, a)
			}
		}
		var again bytes.Buffer
		if err := Write(&again, second.Metadata, items(second)); err != nil || !bytes.Equal(again.Bytes(), written.Bytes()) {
			t.Errorf("written again it differs (%v)", err)
		}
	})
}
