package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs testdata/script: command lines as people type them, and what they print. Each starts in a folder
// with a small model, tiny.gguf, and a text, data.txt.
func TestScripts(t *testing.T) {
	base, text := tinyBase(t, tiny), tinyText(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, "cache"))
			e.Setenv("LocalAppData", filepath.Join(e.WorkDir, "cache"))
			for name, from := range map[string]string{"tiny.gguf": base, "data.txt": text} {
				data, err := os.ReadFile(from)
				if err == nil {
					err = os.WriteFile(filepath.Join(e.WorkDir, name), data, 0o644)
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	})
}
