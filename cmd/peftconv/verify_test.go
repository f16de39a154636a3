package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/files"
)

func TestVerify(t *testing.T) {
	base := tinyBase(t, tiny)
	out, _ := want(t, cli.ExitOK, "verify", base)
	if !strings.Contains(out, "tiny.gguf: no problems (GGUF, llama, 20 tensors") ||
		!strings.Contains(out, "numbers read)") {
		t.Errorf("verify shows\n%s", out)
	}
	if out, _ = want(t, cli.ExitOK, "verify", base, "--quick"); !strings.Contains(out, "no weights read") {
		t.Errorf("verify --quick shows\n%s", out)
	}
	spoiled := filepath.Join(t.TempDir(), "nan.gguf")
	tiny.write(t, spoiled, func(name string, values []float32) {
		if name == "blk.1.attn_k.weight" {
			values[3*tiny.width+5] = float32(nan())
		}
	})
	out, stderr := want(t, cli.ExitError, "verify", spoiled)
	if !strings.Contains(out, `problem: tensor "blk.1.attn_k.weight": NaN at row 3, column 5`) ||
		!strings.Contains(stderr, "nan.gguf: 1 problem\n") {
		t.Errorf("stdout %q, stderr %q", out, stderr)
	}
	out, _ = want(t, cli.ExitError, "verify", spoiled, "--json")
	doc := document(t, out, "file", "format", "problems", "notes", "tensors", "numbers")
	if p := doc["problems"].([]any)[0].(map[string]any); p["tensor"] != "blk.1.attn_k.weight" {
		t.Errorf("problem %v", p)
	}
}

func TestVerifyHashes(t *testing.T) {
	base := tinyBase(t, tiny)
	sums, stderr := want(t, cli.ExitOK, "verify", base, "--hashes")
	if strings.Count(sums, "\n") != 20 || !strings.Contains(stderr, "no problems") {
		t.Errorf("stdout %q, stderr %q", sums, stderr)
	}
	list := writeFile(t, "model.sums", []byte(sums))
	out, _ := want(t, cli.ExitOK, "verify", base, "--against", list)
	if !strings.Contains(out, "20 hashes the same in "+list) {
		t.Errorf("verify shows\n%s", out)
	}
	twin := tiny
	twin.seed = 7
	other := tinyBase(t, twin)
	for _, args := range [][]string{{other, "--against", list}, {other, "--against", base}} {
		out, _ = want(t, cli.ExitError, append([]string{"verify"}, args...)...)
		if !strings.Contains(out, `problem: tensor "token_embd.weight": its SHA-256 is`) {
			t.Errorf("verify shows\n%s", out)
		}
	}
	out, _ = want(t, cli.ExitOK, "verify", base, "--hashes", "--json")
	first := document(t, out)["tensors"].([]any)[0].(map[string]any)
	if hash, _, _ := strings.Cut(sums, " "); first["sha256"] != hash {
		t.Errorf("tensor %v, the list begins with %s", first, hash)
	}
}

func TestVerifyRefuses(t *testing.T) {
	base := tinyBase(t, tiny)
	data, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		status  int
		args    []string
		message string // in stdout or stderr
	}{
		{cli.ExitUsage, nil, "expected one FILE"},
		{cli.ExitUsage, []string{base, "--quick", "--hashes"}, "--quick reads no weights"},
		{cli.ExitUsage, []string{base, "--threads", "-1"}, "--threads: -1"},
		{cli.ExitError, []string{"absent.gguf"}, "absent.gguf"},
		{cli.ExitError, []string{base, "--against", "absent"}, "absent"},
		{cli.ExitError, []string{writeFile(t, "x.gguf", data[:len(data)-200])}, "is it complete?"},
		{cli.ExitError, []string{writeFile(t, "x.gguf", data[:100])}, "problem: gguf: "},
		{cli.ExitError, []string{writeFile(t, "x.gguf", []byte("GGUF"))}, "problem: gguf: "},
		{cli.ExitError, []string{writeFile(t, "x.txt", []byte("text"))}, "neither GGUF nor safetensors"},
	} {
		stdout, stderr := want(t, c.status, append([]string{"verify"}, c.args...)...)
		if !strings.Contains(stdout+stderr, c.message) {
			t.Errorf("%v: %q and %q lack %q", c.args, stdout, stderr, c.message)
		}
	}
}

// TestVerifyHostileText: what a file says must not reach the terminal as control characters.
func TestVerifyHostileText(t *testing.T) {
	path := writeFile(t, "x.safetensors",
		safetensorsFile(`{"w\u001b]0;x.lora_A.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, make([]byte, 4)))
	if out, _ := want(t, cli.ExitError, "verify", path); strings.ContainsAny(out, "\x1b\x07") {
		t.Errorf("control characters in %q", out)
	}
}

func TestDiff(t *testing.T) {
	base := tinyBase(t, tiny)
	other := tiny
	other.typ = gguf.Q8_0
	rough := tinyBase(t, other)
	want(t, cli.ExitOK, "edit", rough, "--set", "x.y=new", "--remove", "general.name", "--set", "llama.context_length=128")
	out, _ := want(t, cli.ExitOK, "diff", base, base, "--exit-code")
	if out != "20 tensors the same\n" {
		t.Errorf("diff shows\n%s", out)
	}
	out, stderr := want(t, files.ExitDiffer, "diff", base, rough, "--exit-code")
	for _, part := range []string{"Metadata (3 differences)", "- general.name", "+ x.y", "64 → 128",
		"Tensors (15 differences, 5 tensors the same)",
		"~ blk.0.ffn_up.weight", "F32 → Q8_0", "32 × 64", "cosine 0.9999", "together"} {
		if !strings.Contains(out, part) {
			t.Errorf("no %q in\n%s", part, out)
		}
	}
	if stderr != "" {
		t.Errorf("stderr %q", stderr)
	}
	want(t, cli.ExitOK, "diff", base, rough)
	if out, _ = want(t, cli.ExitOK, "diff", base, rough, "--quick"); strings.Contains(out, "cosine") ||
		!strings.Contains(out, "of the same type and shape") {
		t.Errorf("diff --quick shows\n%s", out)
	}
	out, _ = want(t, files.ExitDiffer, "diff", base, rough, "--exit-code", "--json")
	doc := document(t, out, "a", "b", "metadata", "tensors", "equal", "together")
	first := doc["tensors"].([]any)[0].(map[string]any)
	if d := first["diff"].(map[string]any); doc["equal"] != 5.0 || !(d["relative"].(float64) < 0.01) ||
		!(d["cosine"].(float64) > 0.999) {
		t.Errorf("%v equal, %v", doc["equal"], first)
	}
}

func TestDiffAdapters(t *testing.T) {
	base := tinyBase(t, tiny)
	a, b := trained(t, base), trained(t, base, "--steps", "12")
	out, _ := want(t, cli.ExitOK, "diff", a, b)
	if !strings.Contains(out, "lora_A.weight") || !strings.Contains(out, "error") {
		t.Errorf("diff shows\n%s", out)
	}
	if out, _ = want(t, cli.ExitOK, "diff", base, a); !strings.Contains(out, "+ ") ||
		!strings.Contains(out, "- token_embd.weight") {
		t.Errorf("diff of a model and an adapter shows\n%s", out)
	}
}

func TestDiffRefuses(t *testing.T) {
	base := tinyBase(t, tiny)
	bad := writeFile(t, "x.gguf", []byte("GGUF"))
	for _, c := range []struct {
		status  int
		args    []string
		message string
	}{
		{cli.ExitUsage, []string{base}, "expected A and B"},
		{cli.ExitError, []string{base, "absent"}, "absent"},
		{files.ExitTrouble, []string{base, "absent", "--exit-code"}, "peftconv diff: stat absent"},
		{files.ExitTrouble, []string{bad, base, "--exit-code"}, "x.gguf"},
		{cli.ExitError, []string{base, bad}, "x.gguf"},
	} {
		_, stderr := want(t, c.status, append([]string{"diff"}, c.args...)...)
		if !strings.Contains(stderr, c.message) || c.status != cli.ExitUsage && strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: stderr %q lacks %q", c.args, stderr, c.message)
		}
	}
}
