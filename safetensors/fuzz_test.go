package safetensors

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"unicode/utf8"
)

// FuzzParse reads anything. What can be read is written back and read again, and must be the same.
func FuzzParse(f *testing.F) {
	f.Add(sample(f))
	files, err := filepath.Glob("testdata/*.safetensors")
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
			t.Errorf("metadata %q and %d tensors, expected %q and %d", second.Metadata, len(second.Tensors), first.Metadata,
				len(first.Tensors))
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

// FuzzIndex reads anything as the index of a model in several files. What can be read is written back and read again,
// and must be the same; the files that it names lie beside it.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{"total_size":12},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{}}`))
	f.Add([]byte(`{"weight_map":{"\u0061\n":"x"},"more":[1,{"c":null}]} `))
	f.Fuzz(func(t *testing.T, data []byte) {
		if !utf8.Valid(data) {
			return
		}
		first, err := parseIndex(data)
		if err != nil {
			return
		}
		for name, file := range first {
			if filepath.Base(file) != file || !filepath.IsLocal(file) {
				t.Errorf("tensor %q is in %q", name, file)
			}
		}
		written, err := json.Marshal(map[string]any{"metadata": map[string]any{"total_size": 1}, "weight_map": first})
		if err != nil {
			t.Fatal(err)
		}
		if second, err := parseIndex(written); err != nil || !maps.Equal(first, second) {
			t.Errorf("read again %q is %q, %v, expected %q", written, second, err, first)
		}
	})
}

// FuzzScanner compares what the scanner takes for an object of texts and lists with what encoding/json does.
func FuzzScanner(f *testing.F) {
	for _, s := range []string{`{"a":[1,2],"b":"text\u00e9"}`, `{ "a" : [ ] , "b" : "" }`, `{}`, `{"a":[01]}`,
		`{"a":null}`, `{"b":"\ud800"}`, "{\"b\":\"\t\"}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var got struct {
			A []uint64 `json:"a"`
			B string   `json:"b"`
		}
		s := scanner{text: []byte(text)}
		err := s.object("x", func(key string) (err error) {
			switch key {
			case "a":
				got.A, err = s.numbers("x")
			case "b":
				got.B, err = s.string("x")
			default:
				err = s.skip("x")
			}
			return err
		})
		if err == nil {
			err = s.end("x")
		}
		if err != nil || !utf8.ValidString(text) {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatalf("the scanner takes %q, encoding/json says %v", text, err)
		}
		var a []uint64
		var b string
		if raw, ok := want["a"]; ok && json.Unmarshal(raw, &a) != nil {
			t.Errorf("%s was taken for numbers", raw)
		}
		if raw, ok := want["b"]; ok && json.Unmarshal(raw, &b) != nil {
			t.Errorf("%s was taken for a text", raw)
		}
		if !slices.Equal(got.A, a) || got.B != b {
			t.Errorf("%q is %v %q, expected %v %q", text, got.A, got.B, a, b)
		}
	})
}
