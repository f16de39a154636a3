package rooms

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// openers are the functions that open files which may be pipes, or read without a limit, by their packages.
var openers = map[string][]string{
	"os":      {"Open", "OpenFile", "ReadFile", "DirFS", "OpenInRoot", "OpenRoot"},
	"io":      {"ReadAll"},
	"io/fs":   {"ReadFile"},
	"syscall": {"Open"},
}

// mayOpen are the files that may call them, each with its reason.
var mayOpen = map[string]string{
	"internal/infile/infile.go":           "opens for all others",
	"internal/infile/dir.go":              "opens for all others",
	"internal/atomicfile/atomicfile.go":   "writes to a device that is named as output",
	"internal/atomicfile/dir.go":          "copies a directory whose files it has looked at",
	"internal/atomicfile/journal.go":      "a part of a journal of its own, of at most its length",
	"internal/atomicfile/sync_unix.go":    "a directory, to write it to the disk",
	"internal/atomicfile/temporary.go":    "for writing, and what it wrote itself",
	"internal/memory/memory.go":           "the system's own files of memory",
	"internal/runlog/file.go":             "for writing, a file that it makes",
	"internal/archtest/llama.go":          "for tests",
	"internal/converttest/converttest.go": "for tests",
	"internal/pefttest/base.go":           "for tests",
}

// TestOpening wants files opened and read by internal/infile, which refuses pipes and devices and has limits.
func TestOpening(t *testing.T) {
	used := map[string]bool{}
	for _, s := range sources(t) {
		if found := opening(s.file); len(found) > 0 {
			used[s.path] = true
			if mayOpen[s.path] == "" {
				t.Errorf("%s calls %s: call internal/infile, or enter it in mayOpen", s.path, strings.Join(found, ", "))
			}
		}
	}
	for path := range mayOpen {
		if !used[path] {
			t.Errorf("%s opens nothing: take it out of mayOpen", path)
		}
	}
}

// TestOpeningFinds runs the search on calls that it has to find, and on others.
func TestOpeningFinds(t *testing.T) {
	const imports = "package p\nimport (\n\"os\"\n\"io\"\n\"io/fs\"\nsystem \"os\"\n)\n"
	for text, want := range map[string]int{
		`var f, err = os.Open("a")`:                  1,
		`var f, err = system.ReadFile("a")`:          1,
		`var read = fs.ReadFile`:                     1,
		`func f() { io.ReadAll(nil); os.DirFS("") }`: 2,
		`var f, err = os.Create("a")`:                0,
		`var f, err = in.Open("a")`:                  0,
		`// os.Open`:                                 0,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "p.go", imports+text, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := opening(file); len(got) != want {
			t.Errorf("%s: found %q, want %d", text, got, want)
		}
	}
}

// opening lists the openers that a file uses.
func opening(file *ast.File) []string {
	packages := map[string]string{} // their paths by the names that the file has for them
	for _, spec := range file.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		if openers[imported] == nil {
			continue
		}
		name := imported[strings.LastIndexByte(imported, '/')+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		packages[name] = imported
	}
	var found []string
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if pkg, ok := s.X.(*ast.Ident); ok && slices.Contains(openers[packages[pkg.Name]], s.Sel.Name) {
				found = append(found, pkg.Name+"."+s.Sel.Name)
			}
		}
		return true
	})
	return found
}
