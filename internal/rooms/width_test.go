package rooms

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// mostColumns is the greatest length of a line, a tab being one character.
const mostColumns = 120

// TestLineWidth wants lines that a window shows whole, also in tests and in the generator of the assembly. Raw strings
// and what an example prints stay as they are.
func TestLineWidth(t *testing.T) {
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(p, ".go"):
			return nil
		}
		text, err := os.ReadFile(p)
		if err == nil && !strings.HasPrefix(string(text), "// Code generated") {
			checkWidth(t, p, string(text))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// checkWidth looks at the lines of one file.
func checkWidth(t *testing.T, path, text string) {
	t.Helper()
	raw, output := false, false
	for i, line := range strings.Split(text, "\n") {
		quotes := strings.Count(line, "`")
		comment := strings.HasPrefix(strings.TrimSpace(line), "//")
		output = comment && (output || strings.Contains(line, "// Output:"))
		if n := utf8.RuneCountInString(line); n > mostColumns && !raw && quotes == 0 && !output {
			t.Errorf("%s:%d has %d characters, expected at most %d", path, i+1, n, mostColumns)
		}
		raw = raw != (quotes%2 == 1 && !comment)
	}
}
