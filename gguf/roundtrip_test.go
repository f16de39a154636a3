package gguf

import (
	"bytes"
	"math"
	"os"
	"testing"

	"github.com/peftconv/peftconv/internal/testdata"
)

// TestRealFiles reads files that other programs wrote and writes them again: the same bytes must come out.
func TestRealFiles(t *testing.T) {
	for _, name := range []string{
		"models/stories260K.gguf",
		"quant/files/tiny-llama-f16.gguf",
		"quant/files/tiny-llama-imatrix.gguf",
		"quant/files/tiny-qwen2-f16.gguf",
		"quant/files/tiny-qwen2-imatrix.gguf",
		"tokenizers/ggml-vocab-bert-bge.gguf",
		"tokenizers/ggml-vocab-gpt-2.gguf",
		"tokenizers/ggml-vocab-llama-bpe.gguf",
		"tokenizers/ggml-vocab-llama-spm.gguf",
		"tokenizers/ggml-vocab-phi-3.gguf",
		"tokenizers/ggml-vocab-qwen2.gguf",
	} {
		t.Run(name, func(t *testing.T) {
			path := testdata.Shared(t, name)
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			f, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var got bytes.Buffer
			n, err := f.WriteTo(&got)
			if err != nil {
				t.Fatal(err)
			}
			if n != int64(got.Len()) {
				t.Errorf("WriteTo says %d bytes, wrote %d", n, got.Len())
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("version %d: %d bytes written differ from the file's %d, extra %d", f.Version, got.Len(), len(want),
					f.Extra)
			}
		})
	}
}

// TestGGMLWriter makes a file that ggml's own writer has made (testdata/ggml.c) and compares the bytes.
func TestGGMLWriter(t *testing.T) {
	want, err := os.ReadFile("testdata/ggml.gguf")
	if err != nil {
		t.Fatal(err)
	}
	meta := &Metadata{}
	for _, kv := range []struct {
		key string
		v   any
	}{
		{"general.architecture", "test"}, {"i8", int8(-128)}, {"u16", uint16(65535)},
		{"i16", int16(-32768)}, {"u32", uint32(math.MaxUint32)}, {"i32", int32(math.MinInt32)}, {"f32", float32(0.1)},
		{"bool", true}, {"u64", uint64(math.MaxUint64)}, {"i64", int64(math.MinInt64)}, {"f64", 0.1},
		{"ints", []int32{1, -2, 3}},
		{"bools", []bool{true, false}}, {"texts", []string{"a", "", "é"}}, {"none", []float32{}}, {"u8", uint8(7)},
	} {
		set(t, meta, kv.key, kv.v)
	}
	tensors := []Tensor{{Name: "vector", Shape: []int64{5}, Type: F32},
		{Name: "matrix", Shape: []int64{32, 3}, Type: Q4_0},
		{Name: "cube", Shape: []int64{2, 1, 2}, Type: F16}, {Name: "last", Shape: []int64{1}, Type: I8}}
	var got bytes.Buffer
	w, err := NewWriter(&got, meta, tensors)
	if err != nil {
		t.Fatal(err)
	}
	for i := range tensors {
		if err := w.WriteTensor(tensors[i].Name, bytes.Repeat([]byte{byte(i + 1)}, int(tensors[i].Size()))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("what is written differs from what ggml writes (%v)\n%q\nexpected\n%q", err, got.Bytes(), want)
	}
	f, err := Parse(want)
	if err != nil {
		t.Fatal(err)
	}
	sameMetadata(t, f.Meta, meta)
}
