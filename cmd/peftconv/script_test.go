package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/words"
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

// TestWords gives every word of other programs to the verbs that know it, and wants the flags that the table names to
// be set, and nothing else.
func TestWords(t *testing.T) {
	for i := range words.Table {
		w := &words.Table[i]
		known := 0
		for _, v := range verbs {
			fs := v.FlagSet(v.New())
			f := fs.Lookup(w.Name)
			if f == nil || w.Value == "" && (!f.Hidden || w.Verbs == nil && w.Means == nil) ||
				w.Value != "" && f.Hidden || !knows(w, v.Name) {
				continue
			}
			known++
			value := w.Value
			if value == "" {
				value = sample(fs, w)
			}
			err := fs.Parse([]string{"--" + strings.ReplaceAll(w.Name, "-", "_") + "=" + value})
			switch {
			case w.Instead != "" && (err == nil || !strings.Contains(err.Error(), w.Instead)):
				t.Errorf("%s --%s: error %v, want %q", v.Name, w.Name, err, w.Instead)
			case w.Instead != "":
			case err != nil:
				t.Errorf("%s --%s=%s: %v", v.Name, w.Name, value, err)
			default:
				wantSet(t, v.Name, fs, w, value)
			}
		}
		if known == 0 {
			t.Errorf("no verb knows --%s %s", w.Name, w.Value)
		}
	}
}

func knows(w *words.Word, verb string) bool {
	for _, known := range words.For(verb) {
		if known == w {
			return true
		}
	}
	return false
}

// sample is a value that the flags of a word can have.
func sample(fs *pflag.FlagSet, w *words.Word) string {
	switch {
	case w.Switch:
		return "true"
	case len(w.Means) == 1 && w.Means[0] == "method={}":
		return "ia3"
	case len(w.Means) == 1 && w.Means[0] == "schedule={}":
		return "cosine"
	}
	flag := func(name string) string { return fs.Lookup(name).DefValue }
	if _, err := w.Sets("3", flag); err != nil {
		return "0.5" // a share
	}
	return "3"
}

// wantSet wants the flags of a word to have their values.
func wantSet(t *testing.T, verb string, fs *pflag.FlagSet, w *words.Word, value string) {
	t.Helper()
	sets, err := w.Sets(value, func(name string) string { return fs.Lookup(name).DefValue })
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]bool{w.Name: true}
	for _, s := range sets {
		wanted[s.Flag] = true
		f := fs.Lookup(s.Flag)
		if f == nil {
			t.Fatalf("%s --%s: there is no flag --%s", verb, w.Name, s.Flag)
		}
		if got := strings.Trim(f.Value.String(), "[]"); got != s.Value {
			t.Errorf("%s --%s %s: --%s is %q, want %q", verb, w.Name, value, s.Flag, got, s.Value)
		}
	}
	fs.Visit(func(f *pflag.Flag) {
		if !wanted[f.Name] {
			t.Errorf("%s --%s %s sets --%s too", verb, w.Name, value, f.Name)
		}
	})
}
