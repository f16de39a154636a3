package merge

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/store"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/safetensors"
)

// TestMergeDirectories merges a LoRA on everything into directories of every kind: with the types that they have, the
// same files with the same tensors of the same types; in F32 the logits of the adapter.
func TestMergeDirectories(t *testing.T) {
	root := testdata.Shared(t, "convert")
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		dir := filepath.Join(root, entry.Name())
		if _, err := os.Stat(filepath.Join(dir, "config.json")); err != nil {
			continue
		}
		t.Run(entry.Name(), func(t *testing.T) {
			if strings.HasPrefix(entry.Name(), "gpt-oss") { // whose experts are blocks that are not written
				dir = unpacked(t, dir)
			}
			b := pefttest.OpenBase(t, dir)
			a, err := methods.NewLoRA(b, method.LoRA{Rank: 2})
			if err != nil {
				t.Fatal(err)
			}
			pefttest.Stir(a, 3)
			own, _ := mergeTo(t, b, Options{}, attach.Scaled{Adapter: a, Scale: 1})
			checkSameFiles(t, own, dir, b)
			exact, _ := mergeTo(t, b, Options{Type: "F32"}, attach.Scaled{Adapter: a, Scale: 1})
			merged := pefttest.OpenBase(t, exact)
			packed := &batch.Batch{}
			packed.Append([]int32{1, 9, 5, 4, 9}, nil)
			want := pefttest.AllLogits(b, pefttest.BindOne(t, a, b), packed)
			if off := pefttest.Relative(pefttest.AllLogits(merged, model.NoHooks{}, packed), want); off > 1e-5 {
				t.Errorf("the logits differ by %.2g", off)
			}
		})
	}
}

// checkSameFiles compares a merged directory with its base's: names of files, and the names, types and shapes of their
// tensors; those that no adapter changes have the same bytes.
func checkSameFiles(t *testing.T, merged, dir string, b *attach.Base) {
	t.Helper()
	changed := map[string]bool{}
	for _, l := range b.Model.Linears() {
		changed[l.Tensor] = true
	}
	for _, path := range b.Store.Files {
		x, y := pefttest.OpenTensors(t, filepath.Join(merged, filepath.Base(path))), pefttest.OpenTensors(t, path)
		if len(x.Tensors) != len(y.Tensors) {
			t.Errorf("%s has %d tensors, expected %d", filepath.Base(path), len(x.Tensors), len(y.Tensors))
		}
		for _, want := range y.Tensors {
			got := x.Tensor(want.Name)
			if got == nil || got.DType != want.DType || !slices.Equal(got.Shape, want.Shape) {
				t.Errorf("%s is not there, or another", want.Name)
			} else if bytes.Equal(got.Bytes(), want.Bytes()) == changed[want.Name] {
				t.Errorf("%s is changed: %v, expected %v", want.Name, !changed[want.Name], changed[want.Name])
			}
		}
	}
	for _, name := range []string{"config.json", attach.IndexFile} {
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil && !bytes.Equal(pefttest.FileBytes(t, filepath.Join(merged, name)), want) {
			t.Errorf("%s is another", name)
		}
	}
}

// unpacked is a directory of a model whose experts are blocks with numbers in their place: (experts, in, out).
func unpacked(t *testing.T, dir string) string {
	t.Helper()
	b := pefttest.OpenBase(t, dir)
	out := t.TempDir()
	var items []safetensors.Item
	for x := range b.Store.Tensors() {
		if !strings.HasSuffix(x.Name, "_blocks") && !strings.HasSuffix(x.Name, "_scales") {
			items = append(items, safetensors.Item{Name: x.Name, DType: safetensors.DType(x.TypeName), Shape: x.Shape,
				Data: x.Data})
		}
	}
	joints := map[*model.Joint][]float32{}
	for _, l := range b.Model.Linears() {
		by, ok := b.Model.Arch.Tensor(l.Role).Transform.(arch.PackExperts)
		if !ok {
			continue
		}
		j := l.Joint
		if joints[j] == nil {
			joints[j] = make([]float32, j.Experts*j.Rows*j.Cols)
			items = append(items, safetensors.Item{Name: j.Module, DType: "BF16",
				Shape: []int64{int64(j.Experts), int64(j.Cols), int64(j.Rows)}})
		}
		w := model.Dequantized(&l.W)
		for r := range l.W.Rows {
			for c := range l.W.Cols {
				joints[j][(l.Expert*j.Cols+c)*j.Rows+r*by.Every+by.First] = w[r*l.W.Cols+c]
			}
		}
	}
	for j, x := range joints {
		i := slices.IndexFunc(items, func(item safetensors.Item) bool { return item.Name == j.Module })
		items[i].Data = floats.Encode(gguf.BF16, x, len(x))
	}
	var file bytes.Buffer
	if err := safetensors.Write(&file, map[string]string{"format": "pt"}, items); err != nil {
		t.Fatal(err)
	}
	config, err := store.ReadConfig(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	delete(config, "quantization_config")
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"config.json": text, "model.safetensors": file.Bytes()} {
		if err := os.WriteFile(filepath.Join(out, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return out
}
