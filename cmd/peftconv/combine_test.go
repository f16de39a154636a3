package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/peft"
)

// lossOf is the loss on a text with the given models and adapters.
func lossOf(t *testing.T, data string, args ...string) float64 {
	t.Helper()
	out, _ := want(t, cli.ExitOK, append([]string{"eval", "--data", data, "--ctx", "32", "--json"}, args...)...)
	return document(t, out, "loss")["loss"].(float64)
}

// TestCombine: cat has the effect of both adapters at once, in eval, in generate and in a merged model.
func TestCombine(t *testing.T) {
	base, data := tinyBase(t, tiny), tinyText(t)
	a, b := trained(t, base, "--steps", "30"), trained(t, base, "--seed", "7", "--rank", "3", "--targets", "attention")
	dir := t.TempDir()
	sum, merged := filepath.Join(dir, "sum.safetensors"), filepath.Join(dir, "merged.gguf")
	out, stderr := want(t, cli.ExitOK, "combine", a, b+":-0.5", "--out", sum)
	for _, part := range []string{"weight", "-0.5", "sum.safetensors written", "differs by 0.0 %"} {
		if !strings.Contains(out, part) {
			t.Errorf("no %q in\n%s", part, out)
		}
	}
	if strings.Contains(stderr, "warning") {
		t.Errorf("stderr %s", stderr)
	}
	both := lossOf(t, data, "--lora", a, "--lora", b+":-0.5")
	if one := lossOf(t, data, "--lora", sum); !near(one, both, 1e-5) {
		t.Errorf("loss %v with the combination, %v with both", one, both)
	}
	want(t, cli.ExitOK, "merge", "--lora", a, "--lora", b+":-0.5", "--out", merged)
	if m := lossOf(t, data, "--base", merged); !near(m, both, 1e-5) {
		t.Errorf("loss %v of the merged model, %v with both", m, both)
	}
	if only := lossOf(t, data, "--lora", a); near(only, both, 1e-4) {
		t.Errorf("the second adapter has no effect: loss %v without, %v with it", only, both)
	}
	said := func(args ...string) string {
		out, _ := want(t, cli.ExitOK, append([]string{"generate", "--prompt", "the sea", "--temperature", "0", "--n", "12"},
			args...)...)
		return out
	}
	if one, two := said("--lora", sum), said("--lora", a, "--lora", b+":-0.5"); one != two {
		t.Errorf("%q with the combination, %q with both", one, two)
	}
}

func TestCombineWritesDirectories(t *testing.T) {
	base := tinyBase(t, tiny)
	a, b := trained(t, base), trained(t, base, "--seed", "7")
	dir := filepath.Join(t.TempDir(), "adapter")
	out, stderr := want(t, cli.ExitOK, "combine", a, b, "--weights", "0.7, 0.3", "--type", "ties_svd", "--density", "0.4",
		"--rank", "6", "--out", dir+string(filepath.Separator), "--json")
	doc := document(t, out, "output", "type", "inputs", "modules", "rank", "parameters", "norm", "sum", "difference")
	if doc["rank"] != 6.0 || doc["inputs"].([]any)[1].(map[string]any)["weight"] != 0.3 {
		t.Errorf("document %v", doc)
	}
	if strings.Contains(stderr, "warning") {
		t.Errorf("stderr %s with --json", stderr)
	}
	loaded, err := peft.Load(dir)
	if err != nil || handle.Adapter(loaded).Config.Rank != 6 || handle.Adapter(loaded).Config.Alpha != 6 {
		t.Fatalf("loaded %+v, %v", loaded, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "adapter_config.json")); err != nil {
		t.Error(err)
	}
	out, stderr = want(t, cli.ExitOK, "combine", a, b, "--type", "svd", "--out", dir, "--force")
	if !strings.Contains(stderr, "counts twice") || !strings.Contains(out, "written") {
		t.Errorf("nothing says that the scale counts twice: %s", stderr)
	}
}

func TestCombineUsage(t *testing.T) {
	for _, c := range []struct{ args, message string }{
		{"--out c.safetensors", "expected adapters"},
		{"a b", "missing required flag --out"},
		{"a b --out c.safetensors --type sum", `type "sum" is not known`},
		{"a b --out c.safetensors --type ties", "density is 0"},
		{"a b --out c.safetensors --weights 1", "1 number for 2 adapters"},
		{"a b --out c.safetensors --weights 1,x", `"x", expected a finite number`},
		{"a:2 b --out c.safetensors --weights 1,2", "a has a weight of its own"},
		{"a:Inf --out c.safetensors", `scale Inf in "a:Inf"`},
		{"a b --out c.safetensors --threads -1", "--threads: -1"},
	} {
		if _, stderr := want(t, cli.ExitUsage,
			append([]string{"combine"}, strings.Fields(c.args)...)...); !strings.Contains(stderr, c.message) {
			t.Errorf("%s: stderr %q lacks %q", c.args, stderr, c.message)
		}
	}
	base := tinyBase(t, tiny)
	a := trained(t, base)
	if _, stderr := want(t, cli.ExitError, "combine", a,
		"--out", a); !strings.Contains(stderr, "an input of this command") {
		t.Errorf("stderr %q", stderr)
	}
	other := tiny
	other.seed = 5
	b := trained(t, tinyBase(t, other))
	out := filepath.Join(t.TempDir(), "c.safetensors")
	if _, stderr := want(t, cli.ExitError, "combine", a, b,
		"--out", out); !strings.Contains(stderr, "but the first over") {
		t.Errorf("adapters of two bases: stderr %q", stderr)
	}
	want(t, cli.ExitOK, "combine", a, b, "--out", out, "--any-base", "--force")
}
