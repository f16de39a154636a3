package export

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/train"
)

// renamed is the llama family under names that no other architecture has.
const renamed = "renamed"

var renaming = strings.NewReplacer("token_embd", "words", "output", "result", "attn_", "a.", "ffn_", "f.", "blk.",
	"part.")

func init() {
	llama := arch.ByName(arch.Llama)
	a := &arch.Arch{Name: renamed, Spec: llama.Spec, Tensors: slices.Clone(llama.Tensors), AddsBiases: true}
	for i := range a.Tensors {
		a.Tensors[i].GGUF = renaming.Replace(a.Tensors[i].GGUF)
	}
	arch.Register(a)
}

// writeRenamed writes a GGUF file of the llama family as one of the renamed architecture.
func writeRenamed(t *testing.T, path string) string {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	meta, err := renameArchitecture(f.Meta, arch.Llama, renamed)
	if err != nil {
		t.Fatal(err)
	}
	table := f.Table()
	for i := range table {
		table[i].Name = renaming.Replace(table[i].Name)
	}
	var out bytes.Buffer
	w, err := gguf.NewWriter(&out, meta, table)
	if err != nil {
		t.Fatal(err)
	}
	for i, old := range f.Tensors {
		if err := w.WriteTensor(table[i].Name, old.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "renamed.gguf")
	if err := os.WriteFile(to, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestRenamed: what tensors are called in a file makes no difference, whatever the method: the same adapters are
// trained, the same weights merged, and the same pairs exported.
func TestRenamed(t *testing.T) {
	path := pefttest.Tiny.WriteGGUF(t)
	bases := [2]*attach.Base{pefttest.OpenBase(t, path), pefttest.OpenBase(t, writeRenamed(t, path))}
	merges, exports := 0, 0
	for _, c := range pefttest.MethodCases {
		t.Run(c.Name, func(t *testing.T) {
			var adapters [2]*attach.Adapter
			var merged, exported [2]*gguf.File
			for i, b := range bases {
				a, err := c.New(b)
				if err != nil {
					t.Fatal(err)
				}
				opt := train.Options{Steps: 2, LR: 0.01, BatchTokens: 60, Seed: 1}
				if _, err := train.Run(t.Context(), pefttest.Base(b), pefttest.Adapter(a), pefttest.Data(pefttest.TinyData(8, 3)),
					nil, opt); err != nil {
					t.Fatal(err)
				}
				adapters[i] = a
				merged[i] = written(t, func(path string) error {
					_, err := merge.Run(t.Context(), pefttest.Base(b), pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), path,
						merge.Options{})
					return err
				})
				exported[i] = written(t, func(path string) error { return GGUF(pefttest.Adapter(a), pefttest.Base(b), path) })
			}
			if !slices.Equal(adapters[0].Flat, adapters[1].Flat) {
				t.Error("the adapters are not the same")
			}
			merges += sameTensors(t, "merged", merged)
			exports += sameTensors(t, "exported", exported)
		})
	}
	if merges < 10 || exports < 5 {
		t.Errorf("%d methods merged and %d exported, expected more", merges, exports)
	}
}

// written is the file that a function writes, nil where it gives an error.
func written(t *testing.T, write func(path string) error) *gguf.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out.gguf")
	if err := write(path); err != nil {
		return nil
	}
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// sameTensors wants the same bytes in two files, of which the second has other names, or none of both. It counts such
// pairs.
func sameTensors(t *testing.T, what string, files [2]*gguf.File) int {
	t.Helper()
	if files[0] == nil || files[1] == nil {
		if files[0] != files[1] {
			t.Errorf("%s over one base only", what)
		}
		return 0
	}
	if a, b := len(files[0].Tensors), len(files[1].Tensors); a != b {
		t.Errorf("%s: %d and %d tensors", what, a, b)
	}
	for _, x := range files[0].Tensors {
		if y := files[1].Tensor(renaming.Replace(x.Name)); y == nil || !bytes.Equal(x.Bytes(), y.Bytes()) {
			t.Errorf("%s: %s is another", what, x.Name)
		}
	}
	return 1
}
