package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayName are the folders whose code may name architectures: this one,
// those that make models for tests of architectures and of formats, and the tokenizers, whose kinds have such names.
var mayName = []string{"internal/arch", "internal/tokenizer", "internal/hfvocab", "internal/modeltest",
	"internal/archtest"}

// namesArchitecture says which architecture a text names: one that is its name, or begins a metadata key.
func namesArchitecture(text string) (name string, ok bool) {
	known := ModelTypes()
	for _, a := range table {
		known = append(known, a.Name)
	}
	for _, name := range known {
		key, isKey := strings.CutPrefix(text, name+".")
		if text == name || isKey && !strings.HasPrefix(key, "cpp") { // llama.cpp is a program
			return name, true
		}
	}
	return "", false
}

// TestOnlyHere wants no architecture named in the code outside of this package.
func TestOnlyHere(t *testing.T) {
	root := filepath.Join("..", "..")
	files := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		place, _ := filepath.Rel(root, path)
		place = filepath.ToSlash(place)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (slices.Contains(mayName, place) || path != root && strings.HasPrefix(entry.Name(), ".")):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		files++
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			if name, found := namesArchitecture(text); err == nil && found {
				t.Errorf("%s names the architecture %s: %.60q", set.Position(lit.Pos()), name, text)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Errorf("%d files were looked at, expected hundreds", files)
	}
	for text, want := range map[string]bool{
		"deci": true, "qwen2.block_count": true, "mistral": true,
		"llama.cpp has no place": false, "llama3": false, "attn_q": false,
	} {
		if name, found := namesArchitecture(text); found != want {
			t.Errorf("%q names %q: %v, expected %v", text, name, found, want)
		}
	}
}
