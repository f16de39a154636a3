package gguf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// save writes a file of metadata and tensors, each of whose bytes is its place in the list.
func save(t *testing.T, path string, meta *Metadata, format Format, tensors ...Tensor) {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriterFormat(&b, meta, tensors, format)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range tensors {
		if err := w.WriteTensor(x.Name, bytes.Repeat([]byte(x.Name), int(x.Size())/len(x.Name))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tensors is tensors of type I8 with these names, of 10, 20, 30 … bytes.
func tensors(names string) []Tensor {
	var list []Tensor
	for i, c := range names {
		list = append(list, Tensor{Name: string(c), Shape: []int64{10, int64(i + 1)}, Type: I8})
	}
	return list
}

// saveSplit writes a model over three files and gives their prefix.
func saveSplit(t *testing.T) string {
	t.Helper()
	prefix := filepath.Join(t.TempDir(), "model")
	meta := &Metadata{}
	set(t, meta, "general.architecture", "llama")
	set(t, meta, "split.count", uint16(0)) // as a joined file has it
	set(t, meta, "general.name", "x")
	for no, names := range []string{"ab", "c", "def"} {
		m, err := SplitMetadata(meta, no, 3, 6)
		if err != nil {
			t.Fatal(err)
		}
		save(t, SplitPath(prefix, no, 3), m, Format{}, tensors(names)...)
	}
	return prefix
}

func TestOpenSplit(t *testing.T) {
	prefix := saveSplit(t)
	if got := filepath.Base(SplitPath(prefix, 1, 3)); got != "model-00002-of-00003.gguf" {
		t.Errorf("the second file is %s", got)
	}
	for no := range 3 {
		path := SplitPath(prefix, no, 3)
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		for _, x := range f.Tensors {
			if f.Tensor(x.Name) != x || strings.Trim(string(x.Bytes()), x.Name) != "" {
				t.Errorf("tensor %s holds %q", x.Name, x.Bytes())
			}
			got += fmt.Sprint(x.Name, len(x.Bytes()), "@", strings.TrimPrefix(x.Shard(), prefix)[5:6], " ")
		}
		if got != "a10@1 b20@1 c10@2 d10@3 e20@3 f30@3 " {
			t.Errorf("tensors %s", got)
		}
		if name, _ := f.Meta.String("general.name"); name != "x" || f.Path != path || len(f.Shards) != 3 ||
			f.Shards[2] != SplitPath(prefix, 2, 3) {
			t.Errorf("path %s, shards %q, name %q", f.Path, f.Shards, name)
		}
		checkJoined(t, f)
		if err := f.Close(); err != nil || f.Tensors[5].Bytes() != nil {
			t.Errorf("Close: %v", err)
		}
	}
	one, err := OpenShard(SplitPath(prefix, 2, 3))
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	if len(one.Tensors) != 3 || one.Shards != nil || one.Tensors[0].Shard() != "" || one.Meta.Len() != 3 {
		t.Errorf("the third file alone: %d tensors, %d values", len(one.Tensors), one.Meta.Len())
	}
}

// checkJoined writes an open model as one file.
func checkJoined(t *testing.T, f *File) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "joined.gguf")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteTo(out); err != nil {
		t.Fatal(err)
	}
	out.Close()
	joined, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer joined.Close()
	if len(joined.Tensors) != 6 || joined.Meta.Len() != 2 || joined.Shards != nil {
		t.Errorf("joined: %d tensors, %d values", len(joined.Tensors), joined.Meta.Len())
	}
	for _, x := range joined.Tensors {
		if !bytes.Equal(x.Bytes(), f.Tensor(x.Name).Bytes()) {
			t.Errorf("joined: tensor %s differs", x.Name)
		}
	}
	if _, ok := f.Meta.Get(keySplitNo); !ok {
		t.Error("WriteTo changed the metadata")
	}
}

func TestSplitLies(t *testing.T) {
	meta := func(no, count, tensors any) *Metadata {
		m := &Metadata{}
		for _, kv := range []struct {
			key string
			v   any
		}{{keySplitNo, no}, {keySplitCount, count}, {keySplitTensors, tensors}} {
			if kv.v != nil {
				set(t, m, kv.key, kv.v)
			}
		}
		return m
	}
	u := func(n int) any { return uint16(n) }
	big := Format{Order: binary.BigEndian}
	for _, tt := range []struct {
		name string
		lie  func(prefix string)
		want string
	}{
		{"a missing file", func(p string) {
			os.Remove(SplitPath(p, 1, 3))
		}, "model-00002-of-00003.gguf: is missing: file 2 of the 3 that hold the model together"},
		{"another name", func(p string) {
			os.Rename(SplitPath(p, 0, 3), p+".gguf")
		}, `is file 1 of 3 that belong together, expected a name that ends in -00001-of-00003.gguf`},
		{"a file in another's place", func(p string) {
			save(t, SplitPath(p, 1, 3), meta(u(2), u(3), int32(6)), Format{}, tensors("c")...)
		}, "says that it is file 3 of 3, expected 2 of 3"},
		{"a file of another split", func(p string) {
			save(t, SplitPath(p, 1, 3), meta(u(1), u(4), int32(6)), Format{}, tensors("c")...)
		}, "says that it is file 2 of 4, expected 2 of 3"},
		{"a file that stands alone", func(p string) {
			save(t, SplitPath(p, 1, 3), nil, Format{}, tensors("c")...)
		}, "says that it is file 1 of 1, expected 2 of 3"},
		{"a tensor in two files", func(p string) {
			save(t, SplitPath(p, 1, 3), meta(u(1), u(3), int32(6)), Format{}, tensors("b")...)
		}, `tensor "b" is in`},
		{"a tensor too few", func(p string) {
			save(t, SplitPath(p, 1, 3), meta(u(1), u(3), int32(6)), Format{})
		}, `key "split.tensors.count" is 6, expected 5`},
		{"no number of tensors", func(p string) {
			save(t, SplitPath(p, 0, 3), meta(u(0), u(3), nil), Format{}, tensors("ab")...)
		}, `key "split.tensors.count" is missing, expected 6`},
		{"another byte order", func(p string) {
			save(t, SplitPath(p, 1, 3), meta(u(1), u(3), int32(6)), big, tensors("c")...)
		}, "is BigEndian, and"},
		{"a malformed file", func(p string) {
			os.WriteFile(SplitPath(p, 1, 3), []byte("GGUF"), 0o600)
		}, "model-00002-of-00003.gguf: header at byte 0x4"},
		{"no number", func(p string) {
			save(t, SplitPath(p, 0, 3), meta(nil, u(3), int32(6)), Format{})
		}, `key "split.no" is missing, expected a number below 3`},
		{"a number too large", func(p string) {
			save(t, SplitPath(p, 0, 3), meta(u(3), u(3), int32(6)), Format{})
		}, `key "split.no" is 3, expected a number below 3`},
		{"a count that is text", func(p string) {
			save(t, SplitPath(p, 0, 3), meta(u(0), "3", int32(6)), Format{})
		}, `key "split.count" is "3", expected a number of files`},
		{"a count without end", func(p string) {
			save(t, SplitPath(p, 0, 3), meta(u(0), uint64(1<<40), int32(6)), Format{})
		}, `expected a number of files up to 65535`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			prefix := saveSplit(t)
			tt.lie(prefix)
			path := SplitPath(prefix, 0, 3)
			if _, err := os.Stat(path); err != nil {
				path = prefix + ".gguf"
			}
			_, err := Open(path)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "gguf: "+prefix) {
				t.Errorf("error %v, expected %q", err, tt.want)
			}
		})
	}
}

func TestSplit(t *testing.T) {
	list := tensors("abcdef") // 10 to 60 bytes, padded 32, 32, 32, 64, 64, 64
	for _, tt := range []struct {
		count int
		bytes int64
		want  string
	}{
		{0, 0, "abcdef"}, {4, 0, "abcd ef"}, {6, 0, "abcdef"}, {1, 0, "a b c d e f"}, {0, 96, "abc d e f"},
		{0, 95, "ab c d e f"},
		{0, 128, "abc de f"}, {0, 1, "a b c d e f"}, {2, 128, "ab cd ef"}, {0, 160, "abcd ef"},
	} {
		var got []string
		for _, file := range Split(list, 32, tt.count, tt.bytes) {
			var names string
			for _, x := range file {
				names += x.Name
			}
			got = append(got, names)
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%d tensors, %d bytes: %s, expected %s", tt.count, tt.bytes, s, tt.want)
		}
	}
	if got := Split(nil, 32, 1, 1); len(got) != 1 || len(got[0]) != 0 {
		t.Errorf("no tensors: %v", got)
	}
}

func TestSplitMetadata(t *testing.T) {
	meta := &Metadata{}
	set(t, meta, "split.count", uint16(0))
	set(t, meta, "general.name", "x")
	for no, want := range []string{"general.name split.no split.tensors.count split.count",
		"split.no split.tensors.count split.count"} {
		m, err := SplitMetadata(meta, no, 2, 7)
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for k := range m.All() {
			keys = append(keys, k)
		}
		if got := strings.Join(keys, " "); got != want {
			t.Errorf("file %d has %s, expected %s", no, got, want)
		}
		for _, key := range []struct {
			name string
			kind ValueType
			v    int64
		}{{keySplitNo, KindUint16, int64(no)}, {keySplitCount, KindUint16, 2}, {keySplitTensors, KindInt32, 7}} {
			v, _ := m.Get(key.name)
			if n, _ := v.Int(); n != key.v || v.Type() != key.kind {
				t.Errorf("file %d: %s is %v %v, expected %v %d", no, key.name, v.Type(), v, key.kind, key.v)
			}
		}
	}
	for _, bad := range [][3]int{{2, 2, 1}, {-1, 2, 1}, {0, 1 << 16, 1}, {0, 1, 1 << 31}} {
		if _, err := SplitMetadata(meta, bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}
