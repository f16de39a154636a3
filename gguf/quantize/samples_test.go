package quantize

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
)

var record = flag.String("llama-quantize", "",
	"path of llama-quantize: let it make the files that TestSamples compares with, of models that are not recorded")

const recorded = "testdata/samples.json"

// variants are combinations of options, as llama-quantize has them, and what they are here.
var variants = []struct {
	name string
	args []string
	set  func(t *testing.T, o *Options)
}{
	{"plain", nil, func(*testing.T, *Options) {}},
	{"imatrix", []string{"--imatrix", "imatrix.gguf"}, func(t *testing.T, o *Options) {
		o.Imatrix = openImatrix(t, "imatrix.gguf", "imatrix.gguf")
	}},
	{"pure", []string{"--pure", "--imatrix", "imatrix.gguf"}, func(t *testing.T, o *Options) {
		o.Pure, o.Imatrix = true, openImatrix(t, "imatrix.gguf", "imatrix.gguf")
	}},
	{"types", []string{"--token-embedding-type", "q5_1", "--output-tensor-type", "bf16", "--tensor-type",
		"Attn_(k|q)=q8_0", "--tensor-type", `blk\.(?!0)\d\.ffn=Q6_K`}, func(t *testing.T, o *Options) {
		o.EmbeddingType, o.OutputType = typeOf(t, "Q5_1"), typeOf(t, "BF16")
		o.Overrides = []Override{overrideOf(t, "Attn_(k|q)=q8_0"), overrideOf(t, `blk\.(?!0)\d\.ffn=Q6_K`)}
	}},
	{"leave", []string{"--leave-output-tensor"}, func(_ *testing.T, o *Options) { o.LeaveOutput = true }},
}

func typeOf(t *testing.T, name string) *gguf.Type {
	t.Helper()
	typ, err := ParseType(name)
	if err != nil {
		t.Fatal(err)
	}
	return &typ
}

func overrideOf(t *testing.T, s string) Override {
	t.Helper()
	o, err := ParseOverride(s)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// variantTypes are the file types with which a variant is tried: all, or some for those that do not depend on it.
func variantTypes(variant string) []string {
	if variant == "plain" || variant == "imatrix" {
		var names []string
		for _, ft := range fileTypes {
			if ft.Name != "NVFP4" && ft.Name != "MXFP4" { // llama-quantize does not make these
				names = append(names, ft.Name)
			}
		}
		return names
	}
	return []string{"Q4_K_M", "Q3_K_L", "IQ2_M", "Q4_0", "F16", "MXFP4_MOE"}
}

// slow says whether a file type is one whose search takes long, which the short tests leave out.
func slow(name string) bool { return strings.HasPrefix(name, "IQ") && !strings.HasPrefix(name, "IQ4") }

// readRecorded reads a file of what is recorded into want, and gives its path from the root. It may be absent where it
// is to be recorded.
func readRecorded(t *testing.T, name string, want any) (path string) {
	t.Helper()
	if data, err := os.ReadFile(name); err == nil {
		if err := json.Unmarshal(data, want); err != nil {
			t.Fatal(err)
		}
	} else if *record == "" {
		t.Fatal(err)
	}
	path, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSamples quantizes small models to every file type, with options and without, and compares the files with those
// that llama-quantize makes. To record those of a new model (or of one that is taken out of the file, anew):
//
//	go test ./gguf/quantize -run TestSamples -llama-quantize /path/to/llama-quantize
func TestSamples(t *testing.T) {
	want := map[string]map[string]map[string]string{} // SHA-256 or "refused", by model, variant and file type
	path := readRecorded(t, recorded, &want)
	t.Chdir(t.TempDir())
	for _, m := range samples {
		m.write(t, "model.gguf", gguf.F16)
		m.writeImatrix(t, "imatrix.gguf")
		if *record != "" && want[m.name] == nil {
			want[m.name] = recordSample(t)
		}
		for _, v := range variants {
			if testing.Short() && (m.name == "large" || v.name == "imatrix") {
				continue
			}
			t.Run(m.name+"/"+v.name, func(t *testing.T) {
				opt := Options{}
				v.set(t, &opt)
				testVariant(t, opt, want[m.name][v.name])
			})
		}
	}
	if *record != "" {
		data, err := json.MarshalIndent(want, "", " ")
		if err == nil {
			err = os.WriteFile(path, append(data, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// testVariant quantizes the model to several file types.
func testVariant(t *testing.T, opt Options, want map[string]string) {
	if len(want) == 0 {
		t.Fatal("nothing is recorded")
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if testing.Short() && slow(name) && want[name] != "refused" {
			continue
		}
		opt.Type = fileType(t, name)
		got := "refused"
		if p, err := planOf(t, "model.gguf", opt); err == nil {
			if err := p.Write(t.Context(), "out.gguf", nil); err != nil {
				t.Fatal(name, err)
			}
			got = hashFile(t, "out.gguf")
		} else if want[name] != got {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got != want[name] {
			t.Errorf("%s: the file has SHA-256 %s, llama-quantize's %s", name, got, want[name])
		}
	}
}

func hashFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// recordSample lets llama-quantize quantize the model.
func recordSample(t *testing.T) map[string]map[string]string {
	t.Helper()
	out := map[string]map[string]string{}
	for _, v := range variants {
		out[v.name] = map[string]string{}
		for _, name := range variantTypes(v.name) {
			os.Remove("out.gguf")
			args := append(slices.Clone(v.args), "model.gguf", "out.gguf", name, "1")
			if err := exec.Command(*record, args...).Run(); err != nil {
				out[v.name][name] = "refused"
				continue
			}
			out[v.name][name] = hashFile(t, "out.gguf")
		}
	}
	return out
}
