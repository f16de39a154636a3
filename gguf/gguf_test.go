package gguf

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// nan is a float32 NaN that is signalling and has a payload.
var nan = math.Float32frombits(0x7fa12345)

// everyKind is a value of every kind and arrays of every kind, with what is at their edges.
func everyKind(t testing.TB) *Metadata {
	t.Helper()
	m := &Metadata{}
	values := []any{
		uint8(255), int8(-128), uint16(65535), int16(-32768), uint32(math.MaxUint32), int32(math.MinInt32), nan, true, false,
		"", "text with \x00 and \xff", uint64(math.MaxUint64), int64(math.MinInt64), math.Copysign(0, -1), math.Inf(1),
		[]uint8{0, 255}, []int8{-128, 127}, []uint16{65535}, []int16{-1}, []uint32{1, 2, 3}, []int32{-7}, []float32{nan, 1},
		[]bool{true, false}, []string{"a", "", "ünï"}, []uint64{1 << 63}, []int64{-1 << 63}, []float64{math.NaN()},
		[]uint8{}, []int8{}, []uint16{}, []int16{}, []uint32{}, []int32{}, []float32{}, []bool{}, []string{}, []uint64{},
		[]int64{}, []float64{}, []Value{},
	}
	for i, v := range values {
		set(t, m, fmt.Sprintf("key.%02d.%T", i, v), v)
	}
	set(t, m, "nested", []Value{value(t, []string{"a"}), value(t, []Value{value(t, []uint8{1}), value(t, []bool{})})})
	return m
}

func set(t testing.TB, m *Metadata, key string, v any) {
	t.Helper()
	if err := m.Set(key, v); err != nil {
		t.Fatal(err)
	}
}

func value(t testing.TB, v any) Value {
	t.Helper()
	val, err := ValueOf(v)
	if err != nil {
		t.Fatal(err)
	}
	return val
}

// sample is a file with every kind of value and three tensors.
func sample(t testing.TB, format Format) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriterFormat(&b, everyKind(t), []Tensor{
		{Name: "a.weight", Shape: []int64{32, 2}, Type: Q4_0},
		{Name: "scalar", Type: F32},
		{Name: "b.weight", Shape: []int64{3, 1, 1, 1}, Type: I16},
	}, format)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct{ name, data string }{
		{"a.weight", strings.Repeat("0123456789abcdef01", 2)}, {"scalar", "\x00\x00\x80\x3f"}, {"b.weight", "aabbcc"},
	} {
		if err := w.WriteTensor(part.name, []byte(part.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if w.Size() != int64(b.Len()) {
		t.Errorf("Size says %d bytes, %d were written", w.Size(), b.Len())
	}
	return b.Bytes()
}

// sameMetadata compares metadata in order and to the bit.
func sameMetadata(t *testing.T, got, want *Metadata) {
	t.Helper()
	if got.Len() != want.Len() {
		t.Fatalf("%d values, expected %d", got.Len(), want.Len())
	}
	for i, w := range want.entries {
		g := got.entries[i]
		if g.key != w.key || !g.value.Equal(w.value) {
			t.Errorf("value %d is %q %v %v, expected %q %v %v", i, g.key, g.value.Type(), g.value, w.key, w.value.Type(),
				w.value)
		}
	}
}

// TestFormats writes and reads every version in either byte order.
func TestFormats(t *testing.T) {
	for version := uint32(1); version <= 3; version++ {
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			t.Run(fmt.Sprint(version, order), func(t *testing.T) {
				file := sample(t, Format{version, order})
				f, err := Parse(file)
				if err != nil {
					t.Fatal(err)
				}
				if f.Version != version || f.Order != order || f.Alignment != 32 || f.Extra != 0 {
					t.Errorf("version %d, order %v, alignment %d, extra %d", f.Version, f.Order, f.Alignment, f.Extra)
				}
				sameMetadata(t, f.Meta, everyKind(t))
				checkSample(t, f)
				var again bytes.Buffer
				if _, err := f.WriteTo(&again); err != nil || !bytes.Equal(again.Bytes(), file) {
					t.Errorf("written again it differs (%v)", err)
				}
			})
		}
	}
}

func checkSample(t *testing.T, f *File) {
	t.Helper()
	a, s, b := f.Tensor("a.weight"), f.Tensor("scalar"), f.Tensor("b.weight")
	if len(f.Tensors) != 3 || a != f.Tensors[0] || s != f.Tensors[1] || b != f.Tensors[2] || f.Tensor("c") != nil {
		t.Fatalf("tensors %v", f.Tensors)
	}
	if a.Elements() != 64 || a.Cols() != 32 || a.Rows() != 2 || a.Size() != 36 || a.Offset != 0 {
		t.Errorf("a: %d elements, %d columns, %d rows, %d bytes at %d", a.Elements(), a.Cols(), a.Rows(), a.Size(), a.Offset)
	}
	if s.Elements() != 1 || s.Cols() != 1 || s.Rows() != 1 || s.Size() != 4 || s.Offset != 64 || len(s.Shape) != 0 {
		t.Errorf("scalar: %d elements, %d columns, %d rows, %d bytes at %d", s.Elements(), s.Cols(), s.Rows(), s.Size(),
			s.Offset)
	}
	if string(b.Bytes()) != "aabbcc" || b.Offset != 96 || !slices.Equal(b.Shape, []int64{3, 1, 1, 1}) {
		t.Errorf("b: %q at %d, shape %v", b.Bytes(), b.Offset, b.Shape)
	}
	if cap(b.Bytes()) != 6 {
		t.Error("the view of b can grow beyond b")
	}
}

// TestKnownBytes compares what is written with bytes that are spelled out.
func TestKnownBytes(t *testing.T) {
	meta := &Metadata{}
	set(t, meta, "general.alignment", uint32(8))
	set(t, meta, "s", "hi")
	set(t, meta, "a", []int16{1, -1})
	var b bytes.Buffer
	w, err := NewWriter(&b, meta, []Tensor{{Name: "x", Shape: []int64{3}, Type: F16},
		{Name: "y", Shape: []int64{1, 2}, Type: I8}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteTensor("x", []byte("xxxxxx")); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteTensor("y", []byte("yy")); err != nil {
		t.Fatal(err)
	}
	want := "GGUF\x03\x00\x00\x00" + "\x02\x00\x00\x00\x00\x00\x00\x00" + "\x03\x00\x00\x00\x00\x00\x00\x00" +
		"\x11\x00\x00\x00\x00\x00\x00\x00general.alignment" + "\x04\x00\x00\x00" + "\x08\x00\x00\x00" +
		"\x01\x00\x00\x00\x00\x00\x00\x00s" + "\x08\x00\x00\x00" + "\x02\x00\x00\x00\x00\x00\x00\x00hi" +
		"\x01\x00\x00\x00\x00\x00\x00\x00a" + "\x09\x00\x00\x00" + "\x03\x00\x00\x00" + "\x02\x00\x00\x00\x00\x00\x00\x00" +
		"\x01\x00\xff\xff" +
		"\x01\x00\x00\x00\x00\x00\x00\x00x" + "\x01\x00\x00\x00" + "\x03\x00\x00\x00\x00\x00\x00\x00" + "\x01\x00\x00\x00" +
		"\x00\x00\x00\x00\x00\x00\x00\x00" +
		"\x01\x00\x00\x00\x00\x00\x00\x00y" + "\x02\x00\x00\x00" + "\x01\x00\x00\x00\x00\x00\x00\x00" +
		"\x02\x00\x00\x00\x00\x00\x00\x00" + "\x18\x00\x00\x00" + "\x08\x00\x00\x00\x00\x00\x00\x00"
	want += zeros(int(pad(int64(len(want)), 8))) + "xxxxxx\x00\x00" + "yy\x00\x00\x00\x00\x00\x00"
	if b.String() != want {
		t.Errorf("written\n%q\nexpected\n%q", b.String(), want)
	}
}

// TestBigEndianBytes reads a big-endian file that is spelled out.
func TestBigEndianBytes(t *testing.T) {
	file := "GGUF" + "\x00\x00\x00\x03" + "\x00\x00\x00\x00\x00\x00\x00\x01" + "\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x00\x00\x00\x00\x00\x00\x00\x01k" + "\x00\x00\x00\x05" + "\xff\xff\xff\xfe" +
		"\x00\x00\x00\x00\x00\x00\x00\x01x" + "\x00\x00\x00\x01" + "\x00\x00\x00\x00\x00\x00\x00\x02" + "\x00\x00\x00\x19" +
		"\x00\x00\x00\x00\x00\x00\x00\x00"
	f, err := Parse([]byte(pad32(file, "\x01\x02\x03\x04")))
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := f.Meta.Int("k"); n != -2 || !ok || f.Order != binary.BigEndian {
		t.Errorf("value %d, order %v", n, f.Order)
	}
	if x := f.Tensor("x"); x == nil || x.Type != I16 || string(x.Bytes()) != "\x01\x02\x03\x04" {
		t.Errorf("tensor %+v", x)
	}
}

// TestVersion1Bytes reads a file of version 1, with its counts of four bytes, spelled out.
func TestVersion1Bytes(t *testing.T) {
	file := "GGUF" + u32(1) + u32(1) + u32(2) +
		u32(1) + "s" + u32(8) + u32(2) + "hi" +
		u32(1) + "a" + u32(9) + u32(8) + u32(2) + u32(1) + "b" + u32(0) +
		u32(1) + "x" + u32(2) + u32(2) + u32(1) + u32(uint32(I8)) + u64(0)
	f, err := Parse([]byte(pad32(file, "\x01\x02")))
	if err != nil {
		t.Fatal(err)
	}
	if s, _ := f.Meta.String("s"); s != "hi" {
		t.Errorf("s is %q", s)
	}
	if a, _ := f.Meta.Strings("a"); !slices.Equal(a, []string{"b", ""}) {
		t.Errorf("a is %q", a)
	}
	if x := f.Tensor("x"); x == nil || string(x.Bytes()) != "\x01\x02" {
		t.Errorf("x is %v", x)
	}
}

// TestUnknownTypes reads tensors of types that the table lacks, and writes them as they were.
func TestUnknownTypes(t *testing.T) {
	header := head(4, 0) + line("a", 4, 0, 7) + line("b", F32, 32, 8) + line("c", 1000, 64, 3, 5) + line("d", 139, 160, 1)
	file := pad32(header, strings.Repeat("0123456789abcdef", 12))
	f, err := Parse([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int64{32, 32, 96, 32} {
		tn := f.Tensors[i]
		if tn.Size() != want || int64(len(tn.Bytes())) != want || tn.Type.Known() != (i == 1) {
			t.Errorf("%s (%v): %d bytes, %d in view, expected %d", tn.Name, tn.Type, tn.Size(), len(tn.Bytes()), want)
		}
	}
	if names := fmt.Sprint(f.Tensors[0].Type, f.Tensors[2].Type); names != "Q4_2 type 1000" {
		t.Errorf("types %s", names)
	}
	var b bytes.Buffer
	if _, err := f.WriteTo(&b); err != nil || b.String() != file {
		t.Errorf("written again it differs (%v)", err)
	}
	if _, err := NewWriter(&b, nil, []Tensor{{Name: "a", Type: 139}}); err == nil ||
		!strings.Contains(err.Error(), "type 139") {
		t.Errorf("an unknown type out of nothing: %v", err)
	}
}

// TestExtraAndMissing reads files whose end is longer or shorter than the format asks for.
func TestExtraAndMissing(t *testing.T) {
	file := pad32(head(1, 0)+line("a", F32, 0, 9), zeros(64))
	for _, tt := range []struct {
		file  string
		extra int64
	}{{file, 0}, {file[:len(file)-28], 0}, {file[:len(file)-1], 0}, {file + "more", 4}, {head(0, 0), 0},
		{head(0, 0) + zeros(9), 1}} {
		f, err := Parse([]byte(tt.file))
		if err != nil || f.Extra != tt.extra {
			t.Fatalf("extra %+v, expected %d (%v)", f, tt.extra, err)
		}
		var b bytes.Buffer
		if n, err := f.WriteTo(&b); err != nil || b.String() != tt.file[:len(tt.file)-int(tt.extra)] || n != int64(b.Len()) {
			t.Errorf("written again it differs: %d bytes of %d (%v)", b.Len(), len(tt.file), err)
		}
	}
}

func TestAlignments(t *testing.T) {
	for _, align := range []uint32{1, 2, 8, 64, 4096, 1 << 16} {
		meta := &Metadata{}
		set(t, meta, "general.alignment", align)
		var b bytes.Buffer
		tensors := []Tensor{{Name: "a", Shape: []int64{5}, Type: I8}, {Name: "b", Shape: []int64{7}, Type: I8}}
		w, err := NewWriter(&b, meta, tensors)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteTensor("a", []byte("aaaaa")); err != nil {
			t.Fatal(err)
		}
		if err := w.WriteTensor("b", []byte("bbbbbbb")); err != nil {
			t.Fatal(err)
		}
		f, err := Parse(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if f.Alignment != int64(align) || f.DataOffset%int64(align) != 0 || b.Len()%int(align) != 0 ||
			string(f.Tensor("b").Bytes()) != "bbbbbbb" {
			t.Errorf("alignment %d: %+v, %d bytes", align, f, b.Len())
		}
		header, size, err := HeaderSize(meta, tensors, Format{})
		if err != nil || header != f.DataOffset || size != int64(b.Len()) {
			t.Errorf("alignment %d: header %d of %d bytes, expected %d of %d (%v)", align, header, size, f.DataOffset, b.Len(),
				err)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	long := strings.Repeat("n", 64)
	meta := func(v any) *Metadata {
		m := &Metadata{}
		set(t, m, "general.alignment", v)
		return m
	}
	for _, tt := range []struct {
		meta    *Metadata
		tensors []Tensor
		format  Format
		want    string
	}{
		{nil, nil, Format{Version: 4}, "version 4"},
		{meta(uint32(3)), nil, Format{}, "power of two"},
		{meta(int32(32)), nil, Format{}, "of kind i32"},
		{nil, []Tensor{{Name: long}}, Format{}, "name has 64 bytes"},
		{nil, []Tensor{{Name: "a"}, {Name: "a"}}, Format{}, "twice"},
		{nil, []Tensor{{Name: "a", Shape: []int64{-1}}}, Format{}, "dimension 0 is -1"},
		{nil, []Tensor{{Name: "a", Shape: []int64{1, 1, 1, 1, 1}}}, Format{}, "5 dimensions"},
		{nil, []Tensor{{Name: "a", Shape: []int64{100}, Type: Q8_0}}, Format{}, "whole Q8_0 blocks of 32"},
		{nil, []Tensor{{Name: "a", Shape: []int64{1 << 40, 1 << 40}}}, Format{}, "more elements"},
		{nil, []Tensor{{Name: "a", Shape: []int64{1 << 32}}}, Format{Version: 1}, "version 1 holds at most"},
		{nil, []Tensor{{Name: "a", Shape: []int64{1 << 58}}, {Name: "b", Shape: []int64{1 << 58}},
			{Name: "c", Shape: []int64{1 << 58}}}, Format{}, "larger than the largest possible"},
	} {
		var b bytes.Buffer
		if _, err := NewWriterFormat(&b, tt.meta, tt.tensors, tt.format); err == nil ||
			!strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, expected %q", err, tt.want)
		}
		if b.Len() > 0 {
			t.Errorf("%q: %d bytes were written", tt.want, b.Len())
		}
	}
}

func TestWriterOrder(t *testing.T) {
	var b bytes.Buffer
	w, err := NewWriter(&b, nil, []Tensor{{Name: "a", Shape: []int64{4}, Type: I8},
		{Name: "b", Shape: []int64{4}, Type: I8}})
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected %q", err, want)
		}
	}
	write := func(s string) error { _, err := w.Write([]byte(s)); return err }
	refuse(write("x"), "no tensor is begun")
	refuse(w.Begin("b"), `tensor "b" is begun, the next one is "a"`)
	refuse(w.WriteTensor("a", []byte("abc")), "3 bytes of data given, expected 4")
	refuse(w.Close(), `tensor "a" has not been written (0 of 2 have)`)
	if err := w.Begin("a"); err != nil {
		t.Fatal(err)
	}
	if err := write("ab"); err != nil {
		t.Fatal(err)
	}
	refuse(write("abc"), "1 bytes of data too many")
	refuse(w.Begin("b"), `tensor "a": 2 of its 4 bytes`)
	refuse(w.Close(), `tensor "a": 2 of its 4 bytes`)
	if err := write("cd"); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteTensor("b", []byte("efgh")); err != nil {
		t.Fatal(err)
	}
	refuse(w.Begin("c"), "after the last")
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if f, err := Parse(b.Bytes()); err != nil || string(f.Tensor("a").Bytes()) != "abcd" ||
		string(f.Tensor("b").Bytes()) != "efgh" {
		t.Errorf("file %v, %v", f, err)
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

// TestDiskFull fails at every byte of a file.
func TestDiskFull(t *testing.T) {
	file := sample(t, Format{})
	f, err := Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(file) {
		if _, err := f.WriteTo(&full{n}); err != os.ErrDeadlineExceeded {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
	if _, err := f.WriteTo(&full{len(file)}); err != nil {
		t.Error(err)
	}
}

func TestOpenAndClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := os.WriteFile(path, sample(t, Format{}), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	checkSample(t, f)
	f.Tensors[0].Release()
	checkSample(t, f)
	for range 2 {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if f.Tensors[0].Bytes() != nil {
		t.Error("a view outlives Close")
	}
	if _, err := Open(path + ".absent"); !os.IsNotExist(unwrap(err)) {
		t.Errorf("absent file: %v", err)
	}
	if err := os.WriteFile(path, []byte("GGUF\x09\x00\x00\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := "gguf: " + path + ": header at byte 0x4: version 9, expected 1 to 3"
	if _, err := Open(path); err == nil || err.Error() != want {
		t.Errorf("error %v, expected %s", err, want)
	}
}

func unwrap(err error) error {
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err
		}
		if _, ok := err.(*os.PathError); ok {
			return err
		}
		err = u.Unwrap()
	}
}

func TestTypes(t *testing.T) {
	known := 0
	for id := Type(0); id < 100; id++ {
		if !id.Known() {
			if _, err := id.RowSize(256); err == nil || id.BlockLen() != 0 || id.BlockSize() != 0 {
				t.Errorf("%v has a size", id)
			}
			continue
		}
		known++
		for _, name := range []string{id.String(), strings.ToLower(id.String())} {
			if got, err := ParseType(name); err != nil || got != id {
				t.Errorf("%q is %v (%v), expected %v", name, got, err, id)
			}
		}
		n := int64(id.BlockLen())
		if size, err := id.RowSize(3 * n); err != nil || size != 3*int64(id.BlockSize()) {
			t.Errorf("%v: three blocks are %d bytes (%v)", id, size, err)
		}
		for _, n := range []int64{-n, n*3 + 1} {
			if size, err := id.RowSize(n); err == nil && n%int64(id.BlockLen()) != 0 || err == nil && n < 0 {
				t.Errorf("%v: a row of %d is %d bytes", id, n, size)
			}
		}
	}
	if size, err := F32.RowSize(1 << 61); err == nil {
		t.Errorf("2^61 elements of F32 are %d bytes", size)
	}
	if known != 35 {
		t.Errorf("%d types are known, expected 35", known)
	}
	for _, name := range []string{"", "Q4", "Q4_2", "q4_0_4_4", "type 5"} {
		if got, err := ParseType(name); err == nil {
			t.Errorf("%q is %v", name, got)
		}
	}
	if s := Q6_K.String() + IQ4_NL.String() + Type(77).String(); s != "Q6_KIQ4_NLtype 77" {
		t.Error(s)
	}
}

func TestMetadata(t *testing.T) {
	m := &Metadata{}
	for _, k := range []string{"a", "b", "c", "d"} {
		set(t, m, k, k)
	}
	keys := func(m *Metadata) string {
		var s string
		for k, v := range m.All() {
			str, _ := v.Str()
			s += k + "=" + str + " "
		}
		return s
	}
	clone := m.Clone()
	set(t, m, "b", "new")
	if !m.Delete("a") || m.Delete("a") {
		t.Error("Delete does not say what was there")
	}
	set(t, m, "a", "last")
	if got := keys(m); got != "b=new c=c d=d a=last " {
		t.Errorf("order %s", got)
	}
	if got := keys(clone); got != "a=a b=b c=c d=d " {
		t.Errorf("the clone changed: %s", got)
	}
	if err := m.Rename("c", "a"); err != nil {
		t.Error(err)
	}
	if got := keys(m); got != "b=new a=c d=d " {
		t.Errorf("after Rename %s", got)
	}
	if s, ok := m.String("a"); s != "c" || !ok {
		t.Errorf("a is %q", s)
	}
	if err := m.Rename("zz", "y"); err == nil {
		t.Error("a key that is not there was renamed")
	}
	for v := range m.All() { // stops early
		if v == "b" {
			break
		}
	}
	for _, bad := range []struct {
		key string
		v   any
	}{{"", "x"}, {strings.Repeat("k", 1<<16), "x"}, {"k", 5}, {"k", nil}, {"k", []int{1}}, {"k", []Value{value(t, "s")}},
		{"k", struct{}{}}} {
		if err := m.Set(bad.key, bad.v); err == nil {
			t.Errorf("Set(%.10q, %v) succeeded", bad.key, bad.v)
		}
	}
	list := []string{"a"}
	set(t, m, "list", list)
	list[0] = "changed"
	if got, _ := m.Strings("list"); got[0] != "a" {
		t.Error("the value shares the caller's slice")
	}
}

func TestGetters(t *testing.T) {
	m := &Metadata{}
	for k, v := range map[string]any{
		"u8": uint8(200), "i8": int8(-5), "u64": uint64(math.MaxUint64), "f32": float32(3), "half": float32(0.5),
		"f64":  1e300,
		"bool": true, "str": "5", "i32s": []int32{-1, 2}, "u64s": []uint64{1, 1 << 63}, "f64s": []float64{1, 2},
		"halves": []float64{0.5},
		"strs":   []string{"a"}, "bools": []bool{true, false}, "u8s": []uint8{7}, "huge": float32(1e20),
		"nan": float32(math.NaN()),
		"i8s": []int8{-8}, "u16s": []uint16{16}, "i16s": []int16{-16}, "u32s": []uint32{32}, "i64s": []int64{-64},
		"f32s": []float32{4},
	} {
		set(t, m, k, v)
	}
	check := func(name string, v any, ok bool, want any) {
		t.Helper()
		if ok != (want != nil) || ok && !reflect.DeepEqual(v, want) {
			t.Errorf("%s is %v %v, expected %v", name, v, ok, want)
		}
	}
	ints := map[string]any{"u8": int64(200), "i8": int64(-5), "f32": int64(3)}
	uints := map[string]any{"u8": uint64(200), "u64": uint64(math.MaxUint64), "f32": uint64(3)}
	floats := map[string]any{"u8": 200.0, "i8": -5.0, "u64": float64(1 << 64), "f32": 3.0, "half": 0.5, "f64": 1e300,
		"huge": float64(float32(1e20))}
	lists := map[string]any{"i32s": []int64{-1, 2}, "f64s": []int64{1, 2}, "u8s": []int64{7},
		"i8s": []int64{-8}, "u16s": []int64{16}, "i16s": []int64{-16}, "u32s": []int64{32}, "i64s": []int64{-64},
		"f32s": []int64{4}}
	f32s := map[string]any{"i32s": []float32{-1, 2}, "f64s": []float32{1, 2}, "u8s": []float32{7},
		"halves": []float32{0.5}, "u64s": []float32{1, 1 << 63},
		"i8s": []float32{-8}, "u16s": []float32{16}, "i16s": []float32{-16}, "u32s": []float32{32}, "i64s": []float32{-64},
		"f32s": []float32{4}}
	for k := range m.All() {
		if k == "nan" {
			if f, ok := m.Float(k); !ok || !math.IsNaN(f) {
				t.Errorf("nan is %v %v", f, ok)
			}
			if _, ok := m.Int(k); ok {
				t.Error("NaN is an integer")
			}
			continue
		}
		i, ok := m.Int(k)
		check("Int "+k, i, ok, ints[k])
		u, ok := m.Uint(k)
		check("Uint "+k, u, ok, uints[k])
		f, ok := m.Float(k)
		check("Float "+k, f, ok, floats[k])
		is, ok := m.Ints(k)
		check("Ints "+k, is, ok, lists[k])
		fs, ok := m.Floats(k)
		check("Floats "+k, fs, ok, f32s[k])
		b, ok := m.Bool(k)
		check("Bool "+k, b, ok, map[string]any{"bool": true}[k])
		s, ok := m.String(k)
		check("String "+k, s, ok, map[string]any{"str": "5"}[k])
		ss, ok := m.Strings(k)
		check("Strings "+k, ss, ok, map[string]any{"strs": []string{"a"}}[k])
		bs, ok := m.Bools(k)
		check("Bools "+k, bs, ok, map[string]any{"bools": []bool{true, false}}[k])
	}
	if _, ok := m.Int("absent"); ok {
		t.Error("an absent key has a value")
	}
	var empty Metadata
	if _, ok := empty.Get("k"); ok || empty.Len() != 0 || empty.Delete("k") {
		t.Error("empty metadata hold something")
	}
}

func TestValueText(t *testing.T) {
	deep := value(t, []uint8{1})
	for range maxDepth - 1 {
		deep = value(t, []Value{deep})
	}
	if _, err := ValueOf([]Value{deep}); err == nil {
		t.Error("arrays stand in one another without end")
	}
	for _, tt := range []struct{ v, text, json any }{
		{float64(0.25), "0.25", "0.25"},
		{[]float64{math.NaN()}, "[NaN]", `["NaN"]`},
		{uint8(7), "7", "7"},
		{float32(0.1), "0.1", "0.1"},
		{nan, "NaN", `"NaN"`},
		{math.Inf(-1), "-Inf", `"-Infinity"`},
		{true, "true", "true"},
		{"a\"b", `"a\"b"`, `"a\"b"`},
		{[]uint8{1, 2}, "[1, 2]", "[1,2]"},
		{[]string{}, "[]", "[]"},
		{[]float32{0.5, float32(math.Inf(1))}, "[0.5, +Inf]", `[0.5,"Infinity"]`},
		{[]int32{1, 2, 3, 4, 5, 6, 7, 8, 9}, "[1, 2, 3, 4, 5, 6, 7, 8, … 9 in all]", "[1,2,3,4,5,6,7,8,9]"},
		{[]Value{value(t, []bool{true}), value(t, []string{"x"})}, `[[true], ["x"]]`, `[[true],["x"]]`},
	} {
		v := value(t, tt.v)
		if v.String() != tt.text {
			t.Errorf("%v shows as %s, expected %s", tt.v, v, tt.text)
		}
		if b, err := json.Marshal(v); err != nil || string(b) != tt.json {
			t.Errorf("%v is %s in JSON (%v), expected %s", tt.v, b, err, tt.json)
		}
	}
	m := &Metadata{}
	set(t, m, "z", uint8(1))
	set(t, m, "a", "x")
	if b, err := json.Marshal(m); err != nil || string(b) != `{"z":1,"a":"x"}` {
		t.Errorf("JSON %s (%v)", b, err)
	}
	for k := ValueType(0); k.valid(); k++ {
		if got, err := ParseValueType(k.String()); err != nil || got != k {
			t.Errorf("kind %v is %v (%v)", k, got, err)
		}
	}
	if _, err := ParseValueType("u128"); err == nil || ValueType(99).String() != "kind 99" {
		t.Error("a kind that does not exist has a name")
	}
}

func TestValueEqual(t *testing.T) {
	m := everyKind(t)
	for k, v := range m.All() {
		for k2, v2 := range m.All() {
			if v.Equal(v2) != (k == k2) {
				t.Errorf("%s and %s: Equal is %v", k, k2, v.Equal(v2))
			}
		}
		if again := value(t, v.Any()); !again.Equal(v) {
			t.Errorf("%s: ValueOf(Any()) is %v, expected %v", k, again, v)
		}
		if v.Type() != KindArray && (v.Len() != 1 || v.Elem() != v.Type()) {
			t.Errorf("%s: length %d, element %v", k, v.Len(), v.Elem())
		}
	}
}

// TestReleaseKeepsTheBytes: what is released is still there, in a map and in memory.
func TestReleaseKeepsTheBytes(t *testing.T) {
	var b bytes.Buffer
	list := []Tensor{{Name: "x", Shape: []int64{1 << 20}, Type: I8}, {Name: "y", Shape: []int64{100}, Type: I8}}
	w, err := NewWriter(&b, nil, list)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range list {
		if err := w.WriteTensor(x.Name, bytes.Repeat([]byte{7}, int(x.Size()))); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "x.gguf")
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
		for _, release := range []func(){f.Tensors[0].Release, f.Tensors[1].Release, f.Release} {
			release()
			for _, x := range f.Tensors {
				if len(bytes.Trim(x.Bytes(), "\a")) > 0 {
					t.Fatalf("tensor %s has lost its bytes", x.Name)
				}
			}
		}
	}
}

// TestRegisterTypeRefuses: numbers and names are registered once, and sizes are those of blocks.
func TestRegisterTypeRefuses(t *testing.T) {
	for name, register := range map[string]func(){
		"a known number":   func() { RegisterType(Q4_K, "NEW", 256, 144) },
		"a removed number": func() { RegisterType(4, "NEW", 32, 18) },
		"a known name":     func() { RegisterType(900, "q4_k", 256, 144) },
		"no name":          func() { RegisterType(900, "", 256, 144) },
		"no elements":      func() { RegisterType(900, "NEW", 0, 144) },
		"no bytes":         func() { RegisterType(900, "NEW", 256, 0) },
		"a huge number":    func() { RegisterType(1<<31, "NEW", 256, 144) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s is taken", name)
				}
			}()
			register()
		}()
	}
	if Type(900).Known() {
		t.Error("what was refused is known")
	}
}
