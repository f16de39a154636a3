package rooms

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
)

// TestPublic wants no exported declaration of a public package to show something of a package under internal.
func TestPublic(t *testing.T) {
	found := 0
	for _, s := range sources(t) {
		if strings.HasPrefix(s.pkg, "internal/") || strings.HasPrefix(s.pkg, "cmd/") || s.pkg == "integration" {
			continue
		}
		found++
		for _, shown := range shownInternals(s.file) {
			t.Errorf("%s: %s", s.path, shown)
		}
	}
	if found < 50 {
		t.Errorf("%d files of public packages", found)
	}
}

// TestPublicFinds runs the search on declarations that show internal types in every place where one can be.
func TestPublicFinds(t *testing.T) {
	const imports = "package p\nimport (\n\"" + module + "internal/attach\"\nhidden \"" + module +
		"internal/model\"\n\"" + module + "gguf\"\n)\n"
	for text, want := range map[string]int{
		"type Base = attach.Base": 1,
		"type Base struct { A *attach.Base; b *attach.Base; C, D gguf.Type }": 1,
		"type Base struct { attach.Base }":                                    1,
		"type Base interface { F(m *hidden.Model) }":                          1,
		"type base struct { A *attach.Base }":                                 0,
		"func F(b *attach.Base) []hidden.Model { return nil }":                2,
		"func f(b *attach.Base) {}":                                           0,
		"func (b *Base) F() map[string]attach.Base { return nil }":            1,
		"func (b *base) F() map[string]attach.Base { return nil }":            0,
		"func F() { attach.New() }":                                           0,
		"var V attach.Base":                                                   1,
		"var V = attach.V":                                                    1,
		"var V error = attach.V":                                              0,
		"const C = attach.C":                                                  0,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "p.go", imports+text, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := shownInternals(file); len(got) != want {
			t.Errorf("%s: found %q, want %d", text, got, want)
		}
	}
}

// shownInternals lists what the exported declarations of a file show of packages under internal.
func shownInternals(file *ast.File) []string {
	internal := map[string]bool{}
	for _, spec := range file.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		if !strings.HasPrefix(imported, module+"internal/") {
			continue
		}
		name := imported[strings.LastIndexByte(imported, '/')+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		internal[name] = true
	}
	var shown []string
	look := func(in string, n ast.Node) {
		ast.Inspect(n, func(n ast.Node) bool {
			if fields, ok := n.(*ast.StructType); ok {
				shown = append(shown, shownFields(in, fields, internal)...)
				return false
			}
			if s, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := s.X.(*ast.Ident); ok && internal[pkg.Name] {
					shown = append(shown, in+" shows "+pkg.Name+"."+s.Sel.Name)
				}
			}
			return true
		})
	}
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || receiverExported(d.Recv)) {
				look(d.Name.Name, d.Type)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() {
						look(s.Name.Name, s.Type)
					}
				case *ast.ValueSpec:
					// the value of a constant has a type of the language
					if !s.Names[0].IsExported() || d.Tok == token.CONST {
						continue
					}
					if s.Type != nil {
						look(s.Names[0].Name, s.Type)
						continue
					}
					for _, v := range s.Values {
						look(s.Names[0].Name, v)
					}
				}
			}
		}
	}
	return shown
}

// shownFields lists what the exported fields of a struct show; an embedded type is a field of its name.
func shownFields(in string, fields *ast.StructType, internal map[string]bool) (shown []string) {
	for _, f := range fields.Fields.List {
		exported := len(f.Names) == 0
		for _, name := range f.Names {
			exported = exported || name.IsExported()
		}
		if !exported {
			continue
		}
		ast.Inspect(f.Type, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := s.X.(*ast.Ident); ok && internal[pkg.Name] {
					shown = append(shown, in+" shows "+pkg.Name+"."+s.Sel.Name)
				}
			}
			return true
		})
	}
	return shown
}

// receiverExported reports whether a method belongs to an exported type.
func receiverExported(recv *ast.FieldList) bool {
	exported := false
	ast.Inspect(recv.List[0].Type, func(n ast.Node) bool {
		if name, ok := n.(*ast.Ident); ok {
			exported = exported || name.IsExported()
		}
		return true
	})
	return exported
}
