package safetensors

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sample is a file with a tensor of every type.
func sample(t testing.TB) []byte {
	t.Helper()
	var list []Item
	for i, d := range DTypes() {
		list = append(list, Item{"tensor." + string(d), d, []int64{2, 4}, bytes.Repeat([]byte{byte(i)}, d.Bits())})
	}
	var b bytes.Buffer
	if err := Write(&b, map[string]string{"format": "pt", "a\"\\\n\x01": "\u2028<&>é"}, list); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestKnownBytes compares what is written with bytes that are spelled out.
func TestKnownBytes(t *testing.T) {
	meta := map[string]string{"format": "pt", "b": "a \"text\"\t\\ \x1f \u2028 </é>"}
	var b bytes.Buffer
	err := Write(&b, meta, []Item{
		{"z", U8, []int64{3}, []byte("zzz")},
		{"b", F16, []int64{1, 1}, []byte("bb")},
		{"a", F16, []int64{1}, []byte("aa")},
		{"half", BF16, []int64{0, 7}, nil},
		{"count", I64, nil, []byte("12345678")},
	})
	if err != nil {
		t.Fatal(err)
	}
	header := `{"__metadata__":{"b":"a \"text\"\t\\ \u001f ` + "\u2028" + ` </é>","format":"pt"},` +
		`"count":{"dtype":"I64","shape":[],"data_offsets":[0,8]},` +
		`"half":{"dtype":"BF16","shape":[0,7],"data_offsets":[8,8]},` +
		`"a":{"dtype":"F16","shape":[1],"data_offsets":[8,10]},` +
		`"b":{"dtype":"F16","shape":[1,1],"data_offsets":[10,12]},` +
		`"z":{"dtype":"U8","shape":[3],"data_offsets":[12,15]}}`
	header += strings.Repeat(" ", (8-len(header)%8)%8)
	if want := file(header, "12345678aabbzzz"); b.String() != want {
		t.Errorf("written\n%q\nexpected\n%q", b.String(), want)
	}
	f, err := Parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Metadata) != 2 || f.Metadata["b"] != meta["b"] {
		t.Errorf("metadata %q", f.Metadata)
	}
	for _, empty := range []struct {
		meta map[string]string
		want string
	}{{nil, "{}      "}, {map[string]string{}, `{"__metadata__":{}}     `}} {
		b.Reset()
		if err := Write(&b, empty.meta, nil); err != nil || b.String() != file(empty.want, "") {
			t.Errorf("written %q (%v), expected %q", b.String(), err, empty.want)
		}
		f, err := Parse(b.Bytes())
		if err != nil || (f.Metadata == nil) != (empty.meta == nil) {
			t.Errorf("metadata %v (%v), expected %v", f.Metadata, err, empty.meta)
		}
	}
}

// TestForeignOrder reads a file whose tensors stand in another order than ours, with fields that are not known.
func TestForeignOrder(t *testing.T) {
	header := `{ "b" : {"shape":[2], "dtype":"U8", "extra":{"x":[1,{}]}, "data_offsets":[1,3]},` + "\n" +
		`"a":{"data_offsets":[0,1],"dtype":"I8","shape":[1]} } ` + "\n"
	f, err := Parse([]byte(file(header, "abb")))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Tensors) != 2 || f.Tensors[0] != f.Tensor("a") || string(f.Tensor("b").Bytes()) != "bb" ||
		f.Tensor("c") != nil {
		t.Errorf("tensors %v", f.Tensors)
	}
	if b := f.Tensor("b"); b.Elements() != 2 || b.Size() != 2 || b.Shard() != "" || cap(b.Bytes()) != 2 {
		t.Errorf("b is %+v", b)
	}
}

func TestEveryType(t *testing.T) {
	f, err := Parse(sample(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Tensors) != 22 || len(DTypes()) != 22 {
		t.Errorf("%d tensors of %d types, expected 22", len(f.Tensors), len(DTypes()))
	}
	for _, x := range f.Tensors {
		if !x.DType.Known() || x.Elements() != 8 || len(x.Bytes()) != x.DType.Bits() || x.Size() != int64(x.DType.Bits()) {
			t.Errorf("%s: %d elements in %d bytes", x.Name, x.Elements(), len(x.Bytes()))
		}
	}
	if DType("F33").Known() || DType("F33").Bits() != 0 {
		t.Error("F33 is known")
	}
}

// float32s converts the elements of a type.
func float32s(t *testing.T, d DType, data []byte) []float32 {
	t.Helper()
	x := Tensor{Name: "x", DType: d, Shape: []int64{int64(len(data)) * 8 / int64(d.Bits())}, data: data}
	got, err := x.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestFloat32s(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	le := binary.LittleEndian
	u16 := func(v ...uint16) []byte { b, _ := binary.Append(nil, le, v); return b }
	for _, tt := range []struct {
		d    DType
		data []byte
		want []float32
	}{
		{F32, []byte{0, 0, 0x80, 0x3f, 0, 0, 0x80, 0xff}, []float32{1, -inf}},
		{F64, append(le.AppendUint64(nil, math.Float64bits(0.1)), le.AppendUint64(nil, math.Float64bits(1e300))...),
			[]float32{0.1, inf}},
		{F16, u16(0x3c00, 0xc000, 0x7bff, 0x0001, 0x03ff, 0x7c00, 0x7e00, 0x8000),
			[]float32{1, -2, 65504, 0x1p-24, 0x1.ff8p-15, inf, nan, float32(math.Copysign(0, -1))}},
		{BF16, u16(0x3f80, 0xc040, 0x7f80, 0x0001), []float32{1, -3, inf, 0x1p-133}},
		{F8E4M3, []byte{0x38, 0xb8, 0x7e, 0x01, 0x08, 0x7f, 0xff, 0x00, 0x07},
			[]float32{1, -1, 448, 0x1p-9, 0x1p-6, nan, nan, 0, 0x1.cp-7}},
		{F8E5M2, []byte{0x3c, 0xbc, 0x7b, 0x01, 0x04, 0x7c, 0xfc, 0x7d},
			[]float32{1, -1, 57344, 0x1p-16, 0x1p-14, inf, -inf, nan}},
		{F8E4M3FNUZ, []byte{0x40, 0xc0, 0x7f, 0x01, 0x80, 0x00}, []float32{1, -1, 240, 0x1p-10, nan, 0}},
		{F8E5M2FNUZ, []byte{0x40, 0xc0, 0x7f, 0x01, 0x80}, []float32{1, -1, 57344, 0x1p-17, nan}},
		{F8E8M0, []byte{127, 128, 0, 254, 255}, []float32{1, 2, 0x1p-127, 0x1p127, nan}},
	} {
		got := float32s(t, tt.d, tt.data)
		same := func(a, b float32) bool {
			return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
		}
		if !slices.EqualFunc(got, tt.want, same) {
			t.Errorf("%s: %v, expected %v", tt.d, got, tt.want)
		}
	}
	for _, d := range []DType{I64, U8, Bool, F4, F6E2M3, C64} {
		if got, err := (&Tensor{Name: "x", DType: d}).Float32s(); err == nil || !strings.Contains(err.Error(), string(d)) {
			t.Errorf("%s became %v (%v)", d, got, err)
		}
	}
}

func TestCopyFloat32s(t *testing.T) {
	data, err := binary.Append(nil, binary.LittleEndian, []float32{0, 1, 2, 3, 4})
	if err != nil {
		t.Fatal(err)
	}
	x := Tensor{Name: "x", DType: F32, Shape: []int64{5}, data: data}
	for first := range 6 {
		for n := range 6 - first {
			got := make([]float32, n)
			if err := x.CopyFloat32s(got, int64(first)); err != nil {
				t.Fatal(err)
			}
			for i, v := range got {
				if v != float32(first+i) {
					t.Errorf("element %d is %v", first+i, v)
				}
			}
		}
	}
	if err := (&Tensor{Name: "x", DType: I64, data: data}).CopyFloat32s(nil, 0); err == nil {
		t.Error("integers were converted")
	}
	defer func() {
		if recover() == nil {
			t.Error("elements beyond the last were copied")
		}
	}()
	_ = x.CopyFloat32s(make([]float32, 3), 3)
}

func TestWriteRefuses(t *testing.T) {
	one := []int64{1}
	for _, tt := range []struct {
		meta  map[string]string
		items []Item
		want  string
	}{
		{nil, []Item{{"a", U8, one, []byte("1")}, {"a", U8, one, []byte("1")}}, `"a" is to be written twice`},
		{nil, []Item{{"__metadata__", U8, one, []byte("1")}}, "no tensor can have the name"},
		{nil, []Item{{"\xff", U8, one, []byte("1")}}, "no tensor can have the name"},
		{nil, []Item{{"a", "F33", one, []byte("1")}}, `"F33" is not known`},
		{nil, []Item{{"a", F32, []int64{-1}, nil}}, "dimension 0 is -1"},
		{nil, []Item{{"a", F4, []int64{3}, []byte("12")}}, "not a whole number of bytes"},
		{nil, []Item{{"a", U8, []int64{1 << 40, 1 << 40}, nil}}, "more elements"},
		{nil, []Item{{"a", F32, one, []byte("123")}}, `tensor "a": 3 bytes of data given, expected 4`},
		{nil, []Item{{"a", F32, []int64{0}, []byte("1")}}, `tensor "a": 1 bytes of data given, expected 0`},
		{map[string]string{"k": "\xff"}, nil, "not valid UTF-8"},
	} {
		if err := Write(&bytes.Buffer{}, tt.meta, tt.items); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, expected %q", err, tt.want)
		}
	}
}

func TestWriterOrder(t *testing.T) {
	var b bytes.Buffer
	w, err := NewWriter(&b, nil, []Tensor{{Name: "b", DType: U8, Shape: []int64{4}},
		{Name: "a", DType: U8, Shape: []int64{4}}, {Name: "0", DType: U8, Shape: []int64{0}}})
	if err != nil {
		t.Fatal(err)
	}
	var order string
	for _, x := range w.Tensors() {
		order += x.Name
	}
	if order != "0ab" {
		t.Errorf("order %s", order)
	}
	refuse := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected %q", err, want)
		}
	}
	write := func(s string) error { _, err := w.Write([]byte(s)); return err }
	refuse(write("x"), "no tensor is begun")
	refuse(w.Begin("b"), `tensor "b" is begun, the next one is "0"`)
	refuse(w.Close(), `tensor "0" has not been written (0 of 3 have)`)
	if err := w.Begin("0"); err != nil {
		t.Fatal(err)
	}
	refuse(write("x"), "no tensor is begun or it is complete")
	if err := w.Begin("a"); err != nil {
		t.Fatal(err)
	}
	if err := write("12"); err != nil {
		t.Fatal(err)
	}
	refuse(write("345"), "1 bytes of data too many")
	refuse(w.Begin("b"), `tensor "a": 2 of its 4 bytes`)
	refuse(w.Close(), `tensor "a": 2 of its 4 bytes`)
	if err := write("34"); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteTensor("b", []byte("5678")); err != nil {
		t.Fatal(err)
	}
	refuse(w.Begin("c"), "after the last")
	if err := w.Close(); err != nil || w.Size() != int64(b.Len()) {
		t.Errorf("%v; %d bytes, expected %d", err, b.Len(), w.Size())
	}
	f, err := Parse(b.Bytes())
	if err != nil || string(f.Tensor("a").Bytes()) != "1234" || string(f.Tensor("b").Bytes()) != "5678" {
		t.Errorf("file %v (%v)", f, err)
	}
}

// full is a disk that takes n bytes.
type full struct{ n int }

func (f *full) Write(p []byte) (int, error) {
	n := min(len(p), f.n)
	f.n -= n
	if n < len(p) {
		return n, os.ErrDeadlineExceeded
	}
	return n, nil
}

func TestDiskFull(t *testing.T) {
	data := sample(t)
	f, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	for n := range data {
		if err := Write(&full{n}, f.Metadata, items(f)); err != os.ErrDeadlineExceeded {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
}

// put writes a file of the tensors whose data are given, all of type U8.
func put(t *testing.T, path string, tensors map[string]string) {
	t.Helper()
	var list []Item
	for name, data := range tensors {
		list = append(list, Item{name, U8, []int64{int64(len(data))}, []byte(data)})
	}
	var b bytes.Buffer
	if err := Write(&b, map[string]string{"file": filepath.Base(path)}, list); err != nil {
		t.Fatal(err)
	}
	text(t, path, b.String())
}

func text(t *testing.T, path, s string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpenDirectory(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "holds no .safetensors file") {
		t.Errorf("empty directory: %v", err)
	}
	opened := func(want string) {
		t.Helper()
		f, err := Open(dir)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		if filepath.Base(f.Path) != want {
			t.Errorf("opened %s, expected %s", f.Path, want)
		}
	}
	put(t, at("one.safetensors"), map[string]string{"a": "1"})
	opened("one.safetensors")
	put(t, at("two.safetensors"), map[string]string{"b": "2"})
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "name one of them") {
		t.Errorf("two files: %v", err)
	}
	text(t, at("other.safetensors.index.json"), `{"weight_map":{"a":"one.safetensors"}}`)
	opened("other.safetensors.index.json")
	put(t, at("adapter_model.safetensors"), map[string]string{"b": "2"})
	opened("adapter_model.safetensors")
	text(t, at("model.safetensors.index.json"), `{"weight_map":{"a":"one.safetensors"}}`)
	opened("model.safetensors.index.json")
	put(t, at("model.safetensors"), map[string]string{"b": "2"})
	opened("model.safetensors")
}

func TestShards(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	index := at("model.safetensors.index.json")
	put(t, at("m-2.safetensors"), map[string]string{"c": "ccc", "d": "dddd", "twice": "second"})
	put(t, at("m-1.safetensors"), map[string]string{"a": "a", "b": "bb", "twice": "first", "unlisted": "u"})
	text(t, index,
		`{"metadata":{"total_size":99},"weight_map":{"a":"m-1.safetensors","b":"m-1.safetensors","c":"m-2.safetensors","d":"m-2.safetensors","twice":"m-2.safetensors"}}`)
	f, err := Open(index)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(f.Shards, []string{"m-1.safetensors", "m-2.safetensors"}) || f.Metadata["file"] != "m-1.safetensors" {
		t.Errorf("shards %q, metadata %q", f.Shards, f.Metadata)
	}
	var got string
	for _, x := range f.Tensors {
		got += x.Name + "=" + string(x.Bytes()) + "@" + x.Shard()[:3] + " "
	}
	if got != "a=a@m-1 b=bb@m-1 unlisted=u@m-1 c=ccc@m-2 d=dddd@m-2 twice=second@m-2 " {
		t.Errorf("tensors %s", got)
	}
	for range 2 {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if f.Tensor("a").Bytes() != nil {
		t.Error("a view outlives Close")
	}
}

func TestIndexLies(t *testing.T) {
	dir := t.TempDir()
	index := filepath.Join(dir, "model.safetensors.index.json")
	put(t, filepath.Join(dir, "m-1.safetensors"), map[string]string{"a": "a", "both": "1"})
	put(t, filepath.Join(dir, "m-2.safetensors"), map[string]string{"b": "b", "both": "2"})
	put(t, filepath.Join(dir, "bad.safetensors"), nil)
	text(t, filepath.Join(dir, "bad.safetensors"), "bad")
	for _, tt := range []struct{ name, index, want string }{
		{"empty", ``, "the JSON text ends where"},
		{"a list", `[]`, `[ stands where "{" is expected`},
		{"no map", `{"metadata":{}}`, `"weight_map" is missing`},
		{"a map that is a list", `{"weight_map":[]}`, `weight_map at byte 0xe: [ stands where "{"`},
		{"a number for a file", `{"weight_map":{"a":1}}`, "1 stands where a text is expected"},
		{"something after it", `{"weight_map":{}} x`, "x stands where the end"},
		{"not UTF-8", "{\"\xff\":1}", "not valid UTF-8"},
		{"a tensor twice", `{"weight_map":{"a":"m-1.safetensors","a":"m-2.safetensors"}}`, `the key "a" occurs twice`},
		{"a missing shard", `{"weight_map":{"a":"m-1.safetensors","z":"m-3.safetensors"}}`,
			"the file m-3.safetensors, which it names, is missing"},
		{"a bad shard", `{"weight_map":{"a":"bad.safetensors"}}`, "bad.safetensors: header at byte 0x0"},
		{"a shard in another directory", `{"weight_map":{"a":"../m-1.safetensors"}}`,
			"expected the name of a file beside the index"},
		{"an absolute shard", `{"weight_map":{"a":"/etc/passwd"}}`, "expected the name of a file beside the index"},
		{"no shard", `{"weight_map":{"a":""}}`, "expected the name of a file"},
		{"a missing tensor", `{"weight_map":{"a":"m-1.safetensors","z":"m-1.safetensors"}}`,
			`tensor "z" is not in m-1.safetensors, where the index places it`},
		{"a tensor in both", `{"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}`,
			`tensor "both" is in m-1.safetensors and in m-2.safetensors`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text(t, index, tt.index)
			_, err := Open(index)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "safetensors: "+dir) {
				t.Errorf("error %v, expected %q", err, tt.want)
			}
		})
	}
	if _, err := Open(filepath.Join(dir, "absent.safetensors")); err == nil ||
		!strings.Contains(err.Error(), "absent.safetensors") {
		t.Errorf("absent file: %v", err)
	}
}

// TestReleaseKeepsTheBytes: what is released is still there, in a map and in memory.
func TestReleaseKeepsTheBytes(t *testing.T) {
	var b bytes.Buffer
	if err := Write(&b, nil, []Item{{"x", U8, []int64{1 << 20}, bytes.Repeat([]byte{7}, 1<<20)}}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	open, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	parsed, err := Parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*File{open, parsed} {
		for _, release := range []func(){f.Tensors[0].Release, f.Release} {
			release()
			if len(bytes.Trim(f.Tensors[0].Bytes(), "\a")) > 0 {
				t.Fatal("the tensor has lost its bytes")
			}
		}
	}
}
