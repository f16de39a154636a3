package quantize

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/archtest"
)

const recordedArchs = "testdata/archs.json"

// archModels are small models of every architecture, with rows that fit all types and with rows that fit few.
func archModels() []archtest.Model {
	var all []archtest.Model
	for _, m := range archtest.All() {
		m.Name, m.Rows = m.Name+"-narrow", 2
		all = append(all, m)
	}
	return append(archtest.Wide(), all...)
}

// archTypes are the file types that are recorded of model i: of all models together every one, of each some.
func archTypes(i int, weighted bool) []string {
	unweighted := []string{"Q4_K_M", "Q3_K_L", "Q2_K", "Q5_K_M", "Q3_K_M", "Q4_K_S", "IQ4_XS", "MXFP4_MOE", "Q3_K_S",
		"TQ2_0", "Q6_K", "Q4_0", "IQ4_NL", "Q5_0", "Q5_K_S", "Q8_0", "Q2_0", "BF16", "TQ1_0", "Q4_1", "F16", "Q5_1", "Q1_0"}
	types, n := unweighted, 4
	if weighted {
		types, n = []string{"Q4_0", "IQ2_M", "Q2_K_S", "IQ3_XS", "IQ4_XS", "IQ3_M", "IQ1_M", "IQ2_XXS", "Q5_0", "IQ3_XXS",
			"IQ2_S", "IQ3_S", "IQ4_NL", "IQ1_S", "IQ2_XS"}, 1
	}
	var names []string
	for k := range n {
		names = append(names, types[(n*i+k)%len(types)])
	}
	return names
}

// writeArch writes a model and an importance matrix of its matrices.
func writeArch(t *testing.T, m *archtest.Model) {
	t.Helper()
	r := rand.New(rand.NewPCG(11, 13))
	table := m.Tensors(t)
	writeModel(t, "model.gguf", m.Meta(t), table, func(tensor *gguf.Tensor) []float32 {
		return weights(r, tensor.Elements())
	})
	writeImatrixOf(t, "imatrix.gguf", table, 17)
}

// TestArchitectures quantizes small models of every architecture and compares the files with those that llama-quantize
// makes. Recorded are a few file types of each; with the flag all are compared, and recorded anew:
//
//	go test ./gguf/quantize -run TestArchitectures -timeout 2h -llama-quantize /path/to/llama-quantize
func TestArchitectures(t *testing.T) {
	want := map[string]map[string]string{} // the beginning of the SHA-256 or "refused", by model and file type
	if data, err := os.ReadFile(recordedArchs); err == nil {
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
	} else if *record == "" {
		t.Fatal(err)
	}
	path, err := filepath.Abs(recordedArchs)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	models := archModels()
	for i := range models {
		m := &models[i]
		t.Run(m.Name, func(t *testing.T) {
			writeArch(t, m)
			if *record != "" {
				want[m.Name] = recordArch(t, i)
			}
			if len(want[m.Name]) == 0 {
				t.Fatal("nothing is recorded")
			}
			for _, key := range slices.Sorted(maps.Keys(want[m.Name])) {
				name, weighted := strings.CutSuffix(key, "+imatrix")
				if testing.Short() && slow(name) {
					continue
				}
				if got := quantizeArch(t, name, weighted); got != want[m.Name][key] {
					t.Errorf("%s: %s, llama-quantize's is %s", key, got, want[m.Name][key])
				}
			}
		})
	}
	if len(want) != len(models) {
		t.Errorf("%d models are recorded, %d are there", len(want), len(models))
	}
	if *record != "" && !t.Failed() {
		if err := os.WriteFile(path, archTable(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// quantizeArch is what TestArchitectures records of the model in a file type.
func quantizeArch(t *testing.T, name string, weighted bool) string {
	t.Helper()
	opt := Options{Type: fileType(t, name)}
	if weighted {
		opt.Imatrix = openImatrix(t, "imatrix.gguf", "imatrix.gguf")
	}
	p, err := planOf(t, "model.gguf", opt)
	if err != nil {
		t.Logf("%s: %v", name, err)
		return "refused"
	}
	if err := p.Write(t.Context(), "out.gguf", nil); err != nil {
		t.Fatal(name, err)
	}
	return hashFile(t, "out.gguf")[:hashDigits]
}

const hashDigits = 16

// recordArch compares the model in all file types with what llama-quantize makes of it, and gives those to record.
func recordArch(t *testing.T, i int) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, weighted := range []bool{false, true} {
		suffix, args := "", []string(nil)
		if weighted {
			suffix, args = "+imatrix", []string{"--imatrix", "imatrix.gguf"}
		}
		for _, name := range variantTypes("plain") {
			os.Remove("llama.gguf")
			log, err := exec.Command(*record, append(slices.Clone(args), "model.gguf", "llama.gguf", name, "1")...).CombinedOutput()
			want := "refused"
			if err == nil {
				want = hashFile(t, "llama.gguf")[:hashDigits]
			}
			if got := quantizeArch(t, name, weighted); got != want {
				t.Errorf("%s%s: %s, llama-quantize's is %s", name, suffix, got, want)
				if err == nil {
					logDifference(t)
				} else {
					lines := strings.Split(strings.TrimSpace(string(log)), "\n")
					t.Log(strings.Join(lines[max(0, len(lines)-4):], "\n"))
				}
			}
			if slices.Contains(archTypes(i, weighted), name) {
				out[name+suffix] = want
			}
		}
	}
	return out
}

// logDifference logs the first tensors that differ in type or data.
func logDifference(t *testing.T) {
	t.Helper()
	var files [2]*gguf.File
	for i, path := range []string{"out.gguf", "llama.gguf"} {
		f, err := gguf.Open(path)
		if err != nil {
			t.Log(err)
			return
		}
		defer f.Close()
		files[i] = f
	}
	shown := 0
	for i, a := range files[0].Tensors {
		if i >= len(files[1].Tensors) || shown == 4 {
			break
		}
		b := files[1].Tensors[i]
		if a.Name != b.Name || a.Type != b.Type || !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Logf("%s %v %v, llama-quantize's %s %v", a.Name, a.Type, a.Shape, b.Name, b.Type)
			shown++
		}
	}
	if shown == 0 {
		t.Log("the tensors are the same")
	}
}

// archTable is the recorded table, a model a line.
func archTable(want map[string]map[string]string) []byte {
	var out bytes.Buffer
	sep := "{\n"
	for _, name := range slices.Sorted(maps.Keys(want)) {
		types, err := json.Marshal(want[name])
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&out, "%s%q: %s", sep, name, types)
		sep = ",\n"
	}
	out.WriteString("\n}\n")
	return out.Bytes()
}
