package quantize

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/testdata"
)

// golden is what llama-quantize made of a model for one file type.
type golden struct {
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"`
	Refused string `json:"refused"`
}

// TestGolden quantizes two models to every file type, plain and with an importance matrix, and compares the files with
// those of llama-quantize. The short test leaves out the types whose search takes long.
func TestGolden(t *testing.T) {
	dir := testdata.Shared(t, "quant/files")
	data, err := os.ReadFile(filepath.Join(dir, "files.json"))
	if err != nil {
		t.Fatal(err)
	}
	var models map[string]map[string]map[string]golden // by model, "plain" or "imatrix", and file type
	if err := json.Unmarshal(data, &models); err != nil {
		t.Fatal(err)
	}
	for model, kinds := range models {
		for kind, types := range kinds {
			for name, want := range types {
				t.Run(model+"/"+kind+"/"+name, func(t *testing.T) {
					t.Parallel()
					testGolden(t, dir, model, kind == "imatrix", name, want)
				})
			}
		}
	}
}

func testGolden(t *testing.T, dir, model string, weighted bool, name string, want golden) {
	opt := Options{Type: fileType(t, name)}
	if testing.Short() && want.Refused == "" && slow(name) {
		t.Skip("takes long")
	}
	if weighted {
		file := strings.TrimSuffix(model, "-f16.gguf") + "-imatrix.gguf"
		opt.Imatrix = openImatrix(t, filepath.Join(dir, file), file)
	}
	p, err := planOf(t, filepath.Join(dir, model), opt)
	if want.Refused != "" {
		if err == nil {
			t.Fatalf("it was planned; llama-quantize refuses: %s", want.Refused)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out.gguf")
	if err := p.Write(t.Context(), out, nil); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	size, err := p.Size()
	if err != nil || size != int64(len(got)) {
		t.Errorf("planned size %d, %v; the file has %d bytes", size, err, len(got))
	}
	if sum := sha256.Sum256(got); hex.EncodeToString(sum[:]) != want.SHA256 {
		t.Errorf("%d bytes with SHA-256 %x, want %d with %s", len(got), sum, want.Size, want.SHA256)
	}
}
