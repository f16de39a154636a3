package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/peft"
)

func TestMergeReports(t *testing.T) {
	base := tinyBase(t, tiny)
	adapter := trained(t, base)
	out := filepath.Join(t.TempDir(), "merged.gguf")
	stdout, _ := want(t, cli.ExitOK, "merge", "--lora", adapter, "--out", out)
	for _, part := range []string{"blk.0.attn_q.weight", "recovery", "1.000", "merged.gguf written",
		"14 tensors changed"} {
		if !strings.Contains(stdout, part) {
			t.Errorf("no %q in\n%s", part, stdout)
		}
	}
	stdout, _ = want(t, cli.ExitOK, "merge", "--lora", adapter, "--base", base, "--out", out, "--json", "--force")
	doc := document(t, stdout, "output", "tensors", "recovery", "copied")
	first := doc["tensors"].([]any)[0].(map[string]any)
	for _, key := range []string{"name", "type", "recovery"} {
		if _, ok := first[key]; !ok {
			t.Errorf("no %q in %v", key, first)
		}
	}
}

// TestMergedIsTheAdapted: over F32 a merge loses nothing, and a merge with the scale 0 is refused.
func TestMergedIsTheAdapted(t *testing.T) {
	base, data := tinyBase(t, tiny), tinyText(t)
	adapter := trained(t, base, "--steps", "40")
	loss := func(args ...string) float64 {
		out, _ := want(t, cli.ExitOK, append([]string{"eval", "--data", data, "--ctx", "32", "--json"}, args...)...)
		return document(t, out, "perplexity", "loss", "tokens", "ctx")["loss"].(float64)
	}
	merged := filepath.Join(t.TempDir(), "merged.gguf")
	want(t, cli.ExitOK, "merge", "--lora", adapter, "--out", merged)
	_, stderr := want(t, cli.ExitError, "merge", "--lora", adapter, "--out", merged+"2", "--scale", "0")
	if !strings.Contains(stderr, "the scale of adapter 1 of 1 is 0") {
		t.Error(stderr)
	}
	before, adapted := loss("--base", base), loss("--base", base, "--lora", adapter)
	if adapted > before-0.05 {
		t.Errorf("loss %v, with the adapter %v", before, adapted)
	}
	if got := loss("--base", merged); !near(got, adapted, 1e-5) {
		t.Errorf("loss of the merged model %v, of base and adapter %v", got, adapted)
	}
	if got := loss("--base", base, "--lora", adapter+":0"); got != before {
		t.Errorf("loss with --lora …:0 %v, of the base %v", got, before)
	}
}

func near(a, b, tolerance float64) bool { return a-b < tolerance && b-a < tolerance }

func TestMergeWarnsWhenLittleIsLeft(t *testing.T) {
	m := tiny
	m.typ = gguf.Q4_0
	base := tinyBase(t, m)
	adapter := trained(t, base, "--steps", "2", "--lr", "1e-5")
	out := filepath.Join(t.TempDir(), "merged.gguf")
	stdout, stderr := want(t, cli.ExitOK, "merge", "--lora", adapter, "--out", out, "--rounding", "requantize")
	if !strings.Contains(stderr, "warning: in 14 of 14 tensors less than half") ||
		!strings.Contains(stderr, "--calibration") || !strings.Contains(stdout, "little is left") {
		t.Errorf("stdout %s\nstderr %s", stdout, stderr)
	}
	f32 := tinyBase(t, tiny)
	stdout, stderr = want(t, cli.ExitOK, "merge", "--lora", trained(t, f32, "--steps", "2", "--lr", "1e-5"), "--out", out,
		"--type", "Q4_0", "--force")
	if !strings.Contains(stderr, "the rounding changed more than the adapter did") ||
		!strings.Contains(stdout, "drowned in rounding") {
		t.Errorf("from F32 to Q4_0: stdout %s\nstderr %s", stdout, stderr)
	}
	stdout, stderr = want(t, cli.ExitOK, "merge", "--lora", adapter, "--out", out, "--type", "F32", "--force")
	if strings.Contains(stderr, "warning") || !strings.Contains(stdout, "F32") {
		t.Errorf("with --type F32: stdout %s\nstderr %s", stdout, stderr)
	}
}

func TestMergeRefuses(t *testing.T) {
	base := tinyBase(t, tiny)
	adapter := trained(t, base)
	bytesOf, err := os.ReadFile(adapter)
	if err != nil {
		t.Fatal(err)
	}
	twin, wide := tiny, tiny
	twin.seed, wide.width = 9, 64
	spoiled := filepath.Join(t.TempDir(), "nan.gguf")
	tiny.write(t, spoiled, func(name string, values []float32) {
		if name == "blk.0.attn_k.weight" {
			values[3] = float32(nan())
		}
	})
	for _, c := range []struct {
		name     string
		args     []string
		messages []string
	}{
		{"another base of the same shape", []string{"--lora", adapter, "--base", tinyBase(t, twin)},
			[]string{"SHA-256", "tiny.gguf"}},
		{"another base of another shape", []string{"--lora", adapter, "--base", tinyBase(t, wide)}, []string{"another base"}},
		{"rank mismatch", []string{"--lora", otherRank(t, bytesOf), "--base", base}, []string{"rank 5", "lora_A [4 "}},
		{"truncated adapter", []string{"--lora", writeFile(t, "cut.safetensors", bytesOf[:len(bytesOf)-10]), "--base", base},
			[]string{"cut.safetensors"}},
		{"not an adapter", []string{"--lora", base, "--base", base}, []string{"tiny.gguf"}},
		{"no adapter", []string{"--lora", "absent.safetensors", "--base", base}, []string{"absent.safetensors"}},
		{"NaN in weights", []string{"--lora", adapter, "--base", spoiled, "--any-base"}, []string{"blk.0.attn_k.weight"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			_, stderr := want(t, cli.ExitError,
				append([]string{"merge", "--out", filepath.Join(dir, "merged.gguf")}, c.args...)...)
			for _, message := range c.messages {
				if !strings.Contains(stderr, message) {
					t.Errorf("stderr %q lacks %q", stderr, message)
				}
			}
			empty(t, dir)
		})
	}
	twinBase := tinyBase(t, twin)
	want(t, cli.ExitOK, "merge", "--lora", adapter, "--base", twinBase, "--any-base", "--out",
		filepath.Join(t.TempDir(), "merged.gguf"))
}

// otherRank is an adapter whose configuration says another rank than its tensors have.
func otherRank(t *testing.T, adapter []byte) string {
	t.Helper()
	for _, form := range []string{`\"r\":4`, `\"r\": 4`} {
		if changed := bytes.Replace(adapter, []byte(form),
			[]byte(form[:len(form)-1]+"5"), 1); !bytes.Equal(changed, adapter) {
			return writeFile(t, "rank.safetensors", changed)
		}
	}
	t.Fatal("the adapter's configuration has no rank to change")
	return ""
}

// TestMergeReadsDataFirst: data that cannot be read ends a merge before it writes.
func TestMergeReadsDataFirst(t *testing.T) {
	adapter := trained(t, tinyBase(t, tiny))
	out := filepath.Join(t.TempDir(), "merged.gguf")
	_, stderr := want(t, cli.ExitError, "merge", "--lora", adapter, "--out", out, "--eval-data", adapter+".txt")
	if !strings.Contains(stderr, adapter+".txt") || cli.Exists(out) {
		t.Errorf("%s; the file exists: %v", stderr, cli.Exists(out))
	}
}

func TestMergeNeverReplacesItsInputs(t *testing.T) {
	base := tinyBase(t, tiny)
	adapter := trained(t, base)
	link := filepath.Join(t.TempDir(), "link.gguf")
	if err := os.Symlink(base, link); err != nil {
		t.Skip(err)
	}
	for _, out := range []string{base, adapter, link} {
		if _, stderr := want(t, cli.ExitError, "merge", "--lora", adapter, "--base", base, "--out",
			out); !strings.Contains(stderr, "never overwritten") {
			t.Errorf("--out %s: stderr %q", out, stderr)
		}
	}
	if _, err := peft.OpenBase(base); err != nil {
		t.Error(err)
	}
}

func TestMergeFindsItsBase(t *testing.T) {
	base := tinyBase(t, tiny)
	adapter := trained(t, base)
	moved := filepath.Join(filepath.Dir(adapter), "tiny.gguf")
	if err := os.Rename(base, moved); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "merged.gguf")
	want(t, cli.ExitOK, "merge", "--lora", adapter, "--out", out)
	if err := os.Remove(moved); err != nil {
		t.Fatal(err)
	}
	if _, stderr := want(t, cli.ExitError, "merge", "--lora", adapter, "--out", out); !strings.Contains(stderr, "--base") {
		t.Errorf("stderr %q does not say how to name the base", stderr)
	}
}

func TestMergeUsage(t *testing.T) {
	for _, c := range []struct{ args, message string }{
		{"", "missing required flag --lora"},
		{"--lora a --scale NaN", "--scale: NaN"},
		{"--lora a --type Q9", "--type"},
		{"--lora a --type IQ2_XS", "importance matrix"},
		{"--lora a:Inf", "--lora: scale Inf"},
		{"--lora a b.gguf", "unexpected argument"},
		{"--lora x --rounding compensate", "--rounding compensate: needs --calibration"},
		{"--lora x --calibration t.txt --rounding nearest", "--calibration: cannot be combined with --rounding nearest"},
	} {
		if _, stderr := want(t, cli.ExitUsage,
			append([]string{"merge"}, strings.Fields(c.args)...)...); !strings.Contains(stderr, c.message) {
			t.Errorf("%s: stderr %q lacks %q", c.args, stderr, c.message)
		}
	}
}

func TestParseLora(t *testing.T) {
	for _, c := range []struct {
		value, path string
		scale       float64
	}{
		{"a.safetensors", "a.safetensors", 1}, {"a.safetensors:0.5", "a.safetensors", 0.5}, {"a:-1", "a", -1},
		{`C:\a.safetensors`, `C:\a.safetensors`, 1}, {`C:\a.safetensors:2`, `C:\a.safetensors`, 2},
		{`C:a`, `C:a`, 1}, {`C:/loras/v1:2/a:1e-1`, `C:/loras/v1:2/a`, 0.1},
		{"b:0.5", "b", 0.5}, {"a:b:0", "a:b", 0}, {":3", ":3", 1},
		{"dir:2/a.safetensors", "dir:2/a.safetensors", 1}, {"a:", "a:", 1},
	} {
		if got, err := parseLora(c.value); err != nil || got != (adapterFlag{c.path, c.scale}) {
			t.Errorf("parseLora(%q) = %v, %v", c.value, got, err)
		}
	}
}

// TestBaseByHash: an adapter's file has the name of its base and no folder. This machine remembers where the base is,
// and metadata that are edited leave it the same base.
func TestBaseByHash(t *testing.T) {
	base := tinyBase(t, tiny)
	adapter := trained(t, base)
	data, err := os.ReadFile(adapter)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte(filepath.Dir(base))) || !bytes.Contains(data, []byte(filepath.Base(base))) {
		t.Errorf("the adapter does not name %s alone", filepath.Base(base))
	}
	out := func() string { return filepath.Join(t.TempDir(), "out.gguf") }
	want(t, cli.ExitOK, "merge", "--lora", adapter, "--out", out())
	want(t, cli.ExitOK, "edit", base, "--set", "general.name=another")
	want(t, cli.ExitOK, "merge", "--lora", adapter, "--out", out())
	moved := filepath.Join(t.TempDir(), "moved.gguf")
	if err := os.Rename(base, moved); err != nil {
		t.Fatal(err)
	}
	_, stderr := want(t, cli.ExitError, "merge", "--lora", adapter, "--out", out())
	if !strings.Contains(stderr, filepath.Base(base)) || !strings.Contains(stderr, "--base") {
		t.Error(stderr)
	}
	want(t, cli.ExitOK, "merge", "--lora", adapter, "--base", moved, "--out", out())
}
