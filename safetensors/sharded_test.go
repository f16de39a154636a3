package safetensors

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// model is tensors of type U8 with one-letter names, of 10 bytes each.
func model(names string) []Tensor {
	var list []Tensor
	for _, c := range names {
		list = append(list, Tensor{Name: string(c), DType: U8, Shape: []int64{10}})
	}
	return list
}

// writeModel writes a model at path; each tensor holds its name ten times.
func writeModel(t *testing.T, path, names string, limit int64) *ShardedWriter {
	t.Helper()
	w, err := NewShardedWriter(path, map[string]string{"format": "pt"}, model(names), limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Abort)
	for i, x := range w.Tensors() {
		data := bytes.Repeat([]byte(x.Name), 10)
		if i%2 == 0 {
			err = w.WriteTensor(x.Name, data)
		} else if err = w.Begin(x.Name); err == nil {
			w.Write(data[:3])
			_, err = w.Write(data[3:])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// list is the names in a directory.
func list(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestShardedWriter(t *testing.T) {
	const three = "model-00001-of-00003.safetensors model-00002-of-00003.safetensors model-00003-of-00003.safetensors " +
		"model.safetensors.index.json"
	for _, tt := range []struct {
		limit int64
		files string
	}{
		{0, "model.safetensors"},
		{50, "model.safetensors"},
		{20, three},
		{29, three},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "model.safetensors")
		text(t, path, "old")
		w := writeModel(t, path, "cdeba", tt.limit)
		if got := list(t, dir); strings.Contains(got, "index") || !strings.Contains(got, "model.safetensors") {
			t.Errorf("limit %d: before Close there are %s", tt.limit, got)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		w.Abort()
		if got := list(t, dir); got != tt.files {
			t.Errorf("limit %d: files %s, expected %s", tt.limit, got, tt.files)
		}
		checkModel(t, dir, w)
	}
}

func checkModel(t *testing.T, dir string, w *ShardedWriter) {
	t.Helper()
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var names []string
	for _, x := range f.Tensors {
		names = append(names, x.Name)
		if string(x.Bytes()) != strings.Repeat(x.Name, 10) {
			t.Errorf("tensor %s holds %q", x.Name, x.Bytes())
		}
	}
	var want []string
	for _, x := range w.Tensors() {
		want = append(want, x.Name)
	}
	if !slices.Equal(names, want) || f.Metadata["format"] != "pt" || len(f.Shards) > 0 && len(f.Shards) != len(w.Files()) {
		t.Errorf("tensors %q, expected %q; shards %q", names, want, f.Shards)
	}
}

func TestIndexBytes(t *testing.T) {
	dir := t.TempDir()
	if err := writeModel(t, filepath.Join(dir, "model.safetensors"), "bca", 20).Close(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "model.safetensors.index.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "metadata": {
    "total_size": 30
  },
  "weight_map": {
    "a": "model-00002-of-00002.safetensors",
    "b": "model-00001-of-00002.safetensors",
    "c": "model-00001-of-00002.safetensors"
  }
}
`
	if string(got) != want {
		t.Errorf("index\n%s\nexpected\n%s", got, want)
	}
}

func TestShardedWriterRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "model.safetensors")
	refuse := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected %q", err, want)
		}
	}
	_, err := NewShardedWriter(filepath.Join(dir, "model.bin"), nil, model("a"), 10)
	refuse(err, "expected a name that ends in .safetensors")
	_, err = NewShardedWriter(path, nil, model("aba"), 10)
	refuse(err, `tensor "a" is to be written twice`)
	_, err = NewShardedWriter(filepath.Join(dir, "absent", "model.safetensors"), nil, model("a"), 10)
	refuse(err, "absent")

	w, err := NewShardedWriter(path, nil, model("ab"), 10)
	if err != nil {
		t.Fatal(err)
	}
	refuse(w.WriteTensor("b", make([]byte, 10)), `the next one is "a"`)
	if err := w.WriteTensor("a", make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	refuse(w.Close(), `tensor "b" has not been written`)
	refuse(w.Close(), "closed or aborted")
	refuse(w.Begin("b"), "closed or aborted")
	_, err = w.Write([]byte("x"))
	refuse(err, "closed or aborted")
	if got := list(t, dir); got != "" {
		t.Errorf("a model that failed left %s", got)
	}
}

func TestShardedWriterAbort(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "model.safetensors")
	text(t, path, "old")
	writeModel(t, path, "abc", 10).Abort()
	if got := list(t, dir); got != "model.safetensors" {
		t.Errorf("an aborted model left %s", got)
	}
}
