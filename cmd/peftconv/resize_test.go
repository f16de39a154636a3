package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/peft"
)

func TestResize(t *testing.T) {
	base, data := tinyBase(t, tiny), tinyText(t)
	a := trained(t, base, "--steps", "30")
	dir := t.TempDir()
	small, same, large := filepath.Join(dir, "small"), filepath.Join(dir, "same.safetensors"),
		filepath.Join(dir, "large.safetensors")
	out, _ := want(t, cli.ExitOK, "resize", a, small, "--rank", "2")
	for _, part := range []string{"energy", "4 → 2", "small written", "of the change's energy"} {
		if !strings.Contains(out, part) {
			t.Errorf("no %q in\n%s", part, out)
		}
	}
	if loaded, err := peft.Load(small); err != nil || handle.Adapter(loaded).Config.Rank != 2 {
		t.Errorf("loaded %+v, %v", loaded, err)
	}
	full := lossOf(t, data, "--lora", a)
	for _, path := range []string{same, large} {
		rank := map[string]string{same: "4", large: "9"}[path]
		want(t, cli.ExitOK, "resize", a, path, "--rank", rank, "--force")
		if got := lossOf(t, data, "--lora", path); !near(got, full, 1e-5) {
			t.Errorf("loss %v at rank %s, %v as it was trained", got, rank, full)
		}
	}
	out, _ = want(t, cli.ExitOK, "resize", a, same, "--energy", "0.9", "--rank", "3", "--json",
		"--force")
	doc := document(t, out, "output", "modules", "energy", "error", "parameters", "parameters_before")
	if e := doc["energy"].(float64); e < 0.5 || e > 1 {
		t.Errorf("energy %v", e)
	}
}

func TestResizeUsage(t *testing.T) {
	for _, c := range []struct{ args, message string }{
		{"a", "expected IN and OUT, found 1 argument"},
		{"a b", "no rank, no energy"},
		{"a b --rank -2", "rank -2"},
		{"a b --energy 2", "energy 2"},
		{"a b --energy 0.5 --sv-ratio 3", "give one of them"},
	} {
		if _, stderr := want(t, cli.ExitUsage,
			append([]string{"resize"}, strings.Fields(c.args)...)...); !strings.Contains(stderr, c.message) {
			t.Errorf("%s: stderr %q lacks %q", c.args, stderr, c.message)
		}
	}
	a := trained(t, tinyBase(t, tiny))
	if _, stderr := want(t, cli.ExitError, "resize", a, a,
		"--rank", "2"); !strings.Contains(stderr, "an input of this command") {
		t.Errorf("stderr %q", stderr)
	}
}
