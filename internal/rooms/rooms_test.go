package rooms

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/peftconv/peftconv/"
)

// floors are the packages from the bottom of the house to its top. A package may import those of the floors below its
// own, and none of its own floor. "/..." stands for a folder and all below it.
var floors = [][]string{
	{"internal/freelist", "internal/alloctest", "internal/infile", "internal/filelock"},
	{"internal/mapped", "internal/memory"},
	{"internal/atomicfile"},
	{"kernels", "internal/hashcache", "internal/errkind", "internal/byname", "internal/prng",
		"internal/tokenizer/pattern",
		"internal/testdata", "internal/rooms", "peft/method", "internal/tokenizer/corpus", "internal/records",
		"internal/words", "internal/jinja", "internal/chart", "internal/look", "docs"},
	{"gguf", "internal/batch", "internal/linalg", "internal/recurrent", "internal/names"},
	{"quant", "safetensors", "internal/tokenizer", "internal/sanity", "gguf/imatrix", "internal/modelcard",
		"internal/converttest"},
	{"internal/autograd", "internal/store", "internal/template", "internal/chat", "internal/floats", "internal/modeltest",
		"internal/logprobs",
		"internal/malformed"},
	{"internal/arch", "internal/weights", "internal/dataset", "internal/distill", "internal/dist"},
	{"internal/dist/...",
		"internal/model", "internal/archtest", "internal/hfvocab", "gguf/diff", "gguf/quantize", "gguf/split"},
	{"internal/lowrank", "internal/requant", "internal/calibrate", "gguf/edit", "gguf/convert", "gguf/tohf"},
	{"internal/attach"},
	{"internal/methods", "internal/lycoris", "internal/virtual", "internal/lorafile", "internal/evaluate",
		"internal/handle"},
	{"peft"},
	{"internal/pefttest", "peft/eval", "peft/generate", "peft/train", "peft/algebra", "peft/search", "peft/export"},
	{"peft/merge", "internal/cli", "gguf/verify", "internal/runlog", "internal/tensorboard"},
	{"internal/preview", "internal/bench", "internal/cli/chatting", "internal/live", "peft/heal"},
	{"internal/pefttest/merging", "internal/cli/methods", "internal/cli/quantizing", "internal/cli/input",
		"internal/cli/shell", "internal/cli/watching", "internal/report", "internal/demo/..."},
	{"internal/cli/files", "internal/cli/healing", "internal/cli/reporting",
		"internal/cli/doctor"},
	{"cmd/peftconv", "integration", "integration/mpi", "internal/chaos", "internal/packaging"},
}

// floorOf is the floor of a package, or -1.
func floorOf(pkg string) int {
	return slices.IndexFunc(floors, func(rooms []string) bool {
		return slices.ContainsFunc(rooms, func(room string) bool {
			folder, whole := strings.CutSuffix(room, "/...")
			return pkg == folder || whole && strings.HasPrefix(pkg, folder+"/")
		})
	})
}

// source is a Go file of the module.
type source struct {
	path string // from the module's root
	pkg  string // its folder
	text string
	file *ast.File
}

// sources are all files that are neither tests nor generators with a module of their own.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && p != root && (strings.HasPrefix(name, ".") || name == "_asm" || name == "testdata" ||
			name == "node_modules"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), p, text, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		rel = filepath.ToSlash(rel)
		all = append(all, source{rel, path.Dir(rel), string(text), file})
		return nil
	})
	if err != nil || len(all) < 100 {
		t.Fatalf("%d files: %v", len(all), err)
	}
	return all
}

// TestImports wants every package on a floor, and imports that go down.
func TestImports(t *testing.T) {
	for _, s := range sources(t) {
		floor := floorOf(s.pkg)
		if floor < 0 {
			t.Errorf("package %s is on no floor: enter it in floors", s.pkg)
			continue
		}
		for _, spec := range s.file.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			other, ours := strings.CutPrefix(imported, module)
			sameFolder := strings.HasPrefix(s.pkg, "internal/demo") && strings.HasPrefix(other, "internal/demo")
			if ours && floorOf(other) >= floor && !sameFolder {
				t.Errorf("%s imports %s, which is not below it", s.path, other)
			}
		}
	}
}

// Limits of a package. kernels and quant have one file a kernel and a format, internal/arch one an architecture: what
// these files say is not counted.
const (
	mostLines = 5000
	mostFiles = 30
)

// TestSizes wants packages that can be read in one sitting.
func TestSizes(t *testing.T) {
	lines, files := map[string]int{}, map[string]int{}
	for _, s := range sources(t) {
		if !ast.IsGenerated(s.file) && !(s.pkg == "internal/arch" && strings.Contains(s.text, "{ Register(&")) {
			lines[s.pkg] += strings.Count(s.text, "\n")
			files[s.pkg]++
		}
	}
	for pkg := range lines {
		if pkg == "kernels" || pkg == "quant" {
			continue
		}
		if lines[pkg] > mostLines || files[pkg] > mostFiles {
			t.Errorf("package %s has %d lines in %d files, expected at most %d in %d", pkg, lines[pkg], files[pkg], mostLines,
				mostFiles)
		}
	}
}

// hidden are ways to reach for something that its type does not say.
var hidden = map[string]*regexp.Regexp{
	"a place among the seven maps of a layer": regexp.MustCompile(`\[7\]`),
	"an anonymous optional interface":         regexp.MustCompile(`\.\(interface\s*\{`),
	"a prefix of a module's name":             regexp.MustCompile(`"(self_attn|mlp)\.`),
}

// TestNothingHidden looks for them where models and adapters are at work.
func TestNothingHidden(t *testing.T) {
	for _, s := range sources(t) {
		if strings.HasPrefix(s.pkg, "kernels") || strings.HasPrefix(s.pkg, "quant") || s.pkg == "internal/arch" ||
			s.pkg == "internal/pefttest" || s.pkg == "internal/modeltest" {
			continue
		}
		for what, pattern := range hidden {
			if at := pattern.FindStringIndex(s.text); at != nil {
				t.Errorf("%s: line %d has %s: %s", s.path, 1+strings.Count(s.text[:at[0]], "\n"), what, s.text[at[0]:at[1]])
			}
		}
	}
}
