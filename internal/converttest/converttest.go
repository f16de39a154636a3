// Package converttest compares GGUF files with what llama.cpp's converter wrote: the forms that the reference data has
// of its files.
package converttest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/testdata"
)

// Form is a GGUF file without its bulk: long strings, long arrays and tensors are hashes.
type Form struct {
	Size    int64    `json:"size"`
	SHA256  string   `json:"sha256"`
	KV      []KV     `json:"kv"`
	Tensors []Tensor `json:"tensors"`
}

// KV is a key, its type and its value; Elem is the type of an array's elements.
type KV struct {
	Key, Type, Elem string
	Value           any
}

// UnmarshalJSON reads [key, type, value] or [key, "array", type, value].
func (kv *KV) UnmarshalJSON(data []byte) error {
	var row []any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&row); err != nil {
		return err
	}
	if len(row) != 3 && len(row) != 4 {
		return fmt.Errorf("%d elements", len(row))
	}
	kv.Key, kv.Type, kv.Value = row[0].(string), row[1].(string), row[len(row)-1]
	if len(row) == 4 {
		kv.Elem = row[2].(string)
	}
	return nil
}

// Tensor is a tensor's name, type, shape (fastest first) and the hash of its data.
type Tensor struct {
	Name, Type string
	Shape      []int64
	SHA256     string
}

// UnmarshalJSON reads [name, type, shape, hash].
func (t *Tensor) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{&t.Name, &t.Type, &t.Shape, &t.SHA256})
}

// ReadForm reads the form of a file.
func ReadForm(t testing.TB, path string) *Form {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f := &Form{}
	if err := json.Unmarshal(data, f); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return f
}

// Models are the model directories of the reference data, each with its forms in the folder expected.
func Models(t testing.TB) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(testdata.Shared(t, "convert"), "*", "config.json"))
	if err != nil || len(dirs) != 35 {
		t.Fatalf("%d model directories, want 35: %v", len(dirs), err)
	}
	for i := range dirs {
		dirs[i] = filepath.Dir(dirs[i])
	}
	return dirs
}

// Adapters are the adapter directories that the reference converted, each with its forms in the folder expected.
func Adapters(t testing.TB) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(testdata.Shared(t, "convert"), "adapters", "*"))
	if err != nil || len(all) != 13 {
		t.Fatalf("%d adapter directories, want 13: %v", len(all), err)
	}
	return slices.DeleteFunc(all, func(dir string) bool { return len(Forms(t, dir)) == 0 })
}

// Forms are the forms of the files that the reference made of a directory, by the type of their tensors.
func Forms(t testing.TB, dir string) map[string]*Form {
	t.Helper()
	forms := map[string]*Form{}
	for _, name := range []string{"f32", "bf16", "f16", "q8_0", "tq1_0", "tq2_0", "auto"} {
		path := filepath.Join(dir, "expected", name+".json")
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if form := ReadForm(t, path); form.SHA256 != "" { // otherwise the reference failed
			forms[name] = form
		}
	}
	return forms
}

// File compares a whole file, with the parts where it differs.
func (f *Form) File(t testing.TB, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := gguf.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	f.Metadata(t, file.Meta, func(string) bool { return true })
	f.Table(t, file)
	anyOrder := slices.ContainsFunc(f.KV, func(kv KV) bool { return kv.Key == "tokenizer.chat_templates" })
	if hash(data) != f.SHA256 && !anyOrder {
		t.Errorf("%s: the hash of %d bytes differs, expected %d bytes", path, len(data), f.Size)
	}
	if int64(len(data)) != f.Size {
		t.Errorf("%s: %d bytes, expected %d", path, len(data), f.Size)
	}
}

// Table compares the tensors, in order.
func (f *Form) Table(t testing.TB, file *gguf.File) {
	t.Helper()
	for i := range max(len(f.Tensors), len(file.Tensors)) {
		var want, got Tensor
		if i < len(f.Tensors) {
			want = f.Tensors[i]
		}
		if i < len(file.Tensors) {
			tensor := file.Tensors[i]
			got = Tensor{tensor.Name, tensor.Type.String(), tensor.Shape, hash(tensor.Bytes())}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("tensor %d: got %v, want %v", i, got, want)
		}
	}
}

// PreTokenizer is the name of the pre-tokenizer that a model directory's vocabulary was cut from, "" where the reduced
// one has a name of its own.
func PreTokenizer(t testing.TB, dir string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "expected", "tokenizer.json"))
	if err != nil {
		return ""
	}
	var file struct{ Pre string }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	return file.Pre
}

// Metadata compares the values whose keys keep accepts, in order, with types. Names of chat templates may stand in any
// order: in the reference it changes from run to run.
func (f *Form) Metadata(t testing.TB, meta *gguf.Metadata, keep func(key string) bool) {
	t.Helper()
	var want, got []KV
	for _, kv := range f.KV {
		if keep(kv.Key) {
			want = append(want, kv)
		}
	}
	for key, value := range meta.All() {
		if keep(key) {
			got = append(got, kvOf(key, value))
		}
	}
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(want):
			t.Errorf("key %d: got %v, want no more", i, got[i])
		case i >= len(got):
			t.Errorf("key %d: got none, want %v", i, want[i])
		case want[i].Key == "tokenizer.chat_templates" && sameSet(got[i].Value, want[i].Value):
		case !reflect.DeepEqual(got[i], want[i]):
			t.Errorf("key %d: got %v, want %v", i, got[i], want[i])
		}
	}
}

func sameSet(a, b any) bool {
	count := func(v any) map[any]int {
		n := map[any]int{}
		list, _ := v.([]any)
		for _, e := range list {
			n[e]++
		}
		return n
	}
	return len(count(a)) > 0 && reflect.DeepEqual(count(a), count(b))
}

// types are the names of types in forms.
var types = map[gguf.ValueType]string{
	gguf.KindUint8: "uint8", gguf.KindInt8: "int8", gguf.KindUint16: "uint16", gguf.KindInt16: "int16",
	gguf.KindUint32: "uint32", gguf.KindInt32: "int32", gguf.KindFloat32: "float32", gguf.KindBool: "bool",
	gguf.KindString: "string", gguf.KindArray: "array",
	gguf.KindUint64: "uint64", gguf.KindInt64: "int64", gguf.KindFloat64: "float64",
}

// Longer texts and arrays stand as hashes.
const (
	longText  = 256
	longArray = 16
	shown     = 8
)

// kvOf is a value as it stands in a form.
func kvOf(key string, v gguf.Value) KV {
	kv := KV{Key: key, Type: types[v.Type()]}
	if v.Type() != gguf.KindArray {
		kv.Value = form(v.Any())
		return kv
	}
	kv.Elem = types[v.Elem()]
	list := reflect.ValueOf(v.Any())
	elements := []any{}
	for i := range list.Len() {
		elements = append(elements, form(list.Index(i).Interface()))
	}
	kv.Value = elements
	if len(elements) > longArray {
		kv.Value = map[string]any{"count": number(len(elements)), "sha256": hashOf(list), "head": elements[:shown]}
	}
	return kv
}

func number(n int) json.Number { return json.Number(fmt.Sprint(n)) }

// form is a single value as it stands in a form.
func form(v any) any {
	switch v := v.(type) {
	case bool:
		return v
	case string:
		if len(v) <= longText {
			return v
		}
		return map[string]any{"bytes": number(len(v)), "sha256": hash([]byte(v)),
			"head": string([]rune(v)[:min(64, len([]rune(v)))])}
	case float32:
		return json.Number(pythonFloat(float64(v)))
	case float64:
		return json.Number(pythonFloat(v))
	}
	return json.Number(fmt.Sprint(v))
}

// pythonFloat is a number as Python writes it: with a point, and an exponent outside of 1e-4 to 1e16.
func pythonFloat(f float64) string {
	data, _ := json.Marshal(f)
	s := string(data)
	if a := max(f, -f); f != 0 && (a < 1e-4 || a >= 1e16) {
		s = fmt.Sprintf("%e", f)
		var short float64
		for digits := range 18 {
			s = fmt.Sprintf("%.*e", digits, f)
			if _, err := fmt.Sscan(s, &short); err == nil && short == f {
				break
			}
		}
		return s
	}
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// hashOf hashes the elements of an array as they stand in the file.
func hashOf(list reflect.Value) string {
	var b bytes.Buffer
	for i := range list.Len() {
		e := list.Index(i).Interface()
		if s, ok := e.(string); ok {
			b.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(s))))
			b.WriteString(s)
			continue
		}
		if err := binary.Write(&b, binary.LittleEndian, e); err != nil {
			panic(err)
		}
	}
	return hash(b.Bytes())
}
