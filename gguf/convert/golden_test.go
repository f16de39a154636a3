package convert

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/testdata"
)

// goldenFile is the form of a file of the reference converter.
type goldenFile struct {
	Size    int64   `json:"size"`
	SHA256  string  `json:"sha256"`
	KV      [][]any `json:"kv"`
	Tensors [][]any `json:"tensors"` // name, type, shape, SHA-256
}

// TestGolden compares what becomes of each directory with what the reference converter made of it.
func TestGolden(t *testing.T) {
	root := testdata.Shared(t, "convert")
	files, err := filepath.Glob(filepath.Join(root, "*", "expected", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, path := range files {
		typ := strings.TrimSuffix(filepath.Base(path), ".json")
		dir := filepath.Dir(filepath.Dir(path))
		if typ == "logits" || typ == "tokenizer" || testing.Short() && typ != "bf16" {
			continue
		}
		count++
		t.Run(filepath.Base(dir)+"/"+typ, func(t *testing.T) { testGolden(t, dir, path, typ) })
	}
	if count < 35 {
		t.Errorf("%d files compared", count)
	}
}

func testGolden(t *testing.T, dir, path, typ string) {
	t.Parallel()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want goldenFile
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out.gguf")
	p, err := NewPlan(dir, Options{Type: typ})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Write(t.Context(), out, nil); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	compareKeys(t, f.Meta, want.KV)
	compareTensors(t, f, want.Tensors)
}

func compareKeys(t *testing.T, meta *gguf.Metadata, want [][]any) {
	t.Helper()
	arch, _ := meta.String("general.architecture")
	own := func(key string) bool {
		return strings.HasPrefix(key, arch+".") || key == "general.architecture" || key == "general.file_type"
	}
	var have, expected []string
	for key, v := range meta.All() {
		if own(key) {
			have = append(have, fmt.Sprint(key, " ", v.Type(), " ", v))
		}
	}
	for _, kv := range want {
		key := kv[0].(string)
		if !own(key) {
			continue
		}
		v, ok := meta.Get(key)
		text := fmt.Sprint(key, " ", kv[1:])
		if ok && sameValue(v, kv) {
			text = fmt.Sprint(key, " ", v.Type(), " ", v)
		}
		expected = append(expected, text)
	}
	compareLists(t, "key", have, expected)
}

// compareLists reports where two lists differ.
func compareLists(t *testing.T, what string, have, expected []string) {
	t.Helper()
	for i := range max(len(have), len(expected)) {
		a, b := "-", "-"
		if i < len(have) {
			a = have[i]
		}
		if i < len(expected) {
			b = expected[i]
		}
		if a != b {
			t.Errorf("%s %d: %s, expected %s", what, i, a, b)
		}
	}
}

// typeNames are the names of types in golden files.
var typeNames = map[gguf.ValueType]string{
	gguf.KindUint8: "uint8", gguf.KindInt8: "int8", gguf.KindUint16: "uint16", gguf.KindInt16: "int16",
	gguf.KindUint32: "uint32", gguf.KindInt32: "int32", gguf.KindFloat32: "float32", gguf.KindBool: "bool",
	gguf.KindString: "string", gguf.KindArray: "array", gguf.KindUint64: "uint64", gguf.KindInt64: "int64",
	gguf.KindFloat64: "float64",
}

// sameValue compares a value with the form of it in a golden file.
func sameValue(v gguf.Value, kv []any) bool {
	if typeNames[v.Type()] != kv[1].(string) {
		return false
	}
	if kv[1] == "array" {
		if typeNames[v.Elem()] != kv[2].(string) {
			return false
		}
		kv = kv[1:]
	}
	a, err := json.Marshal(v.Any())
	if err != nil {
		return false
	}
	b, err := json.Marshal(kv[2])
	if x, ok := v.Float(); ok && v.Type() == gguf.KindFloat32 {
		return x == kv[2].(float64)
	}
	return err == nil && string(a) == string(b)
}

func compareTensors(t *testing.T, f *gguf.File, want [][]any) {
	t.Helper()
	var have, expected []string
	for _, tensor := range f.Tensors {
		sum := sha256.Sum256(tensor.Bytes())
		have = append(have, fmt.Sprint(tensor.Name, " ", tensor.Type, " ", tensor.Shape, " ", hex.EncodeToString(sum[:8])))
	}
	for _, w := range want {
		expected = append(expected, fmt.Sprint(w[0], " ", w[1], " ", w[2], " ", w[3].(string)[:16]))
	}
	compareLists(t, "tensor", have, expected)
}
