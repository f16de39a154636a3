package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/testdata"
)

// square is a model that K types fit, in F16.
var square = tinyModel{width: 256, heads: 8, kvHeads: 2, ffn: 256, layers: 2, typ: gguf.F16, seed: 3}

func typesOf(t *testing.T, path string) map[string]int {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	counts := map[string]int{}
	for _, tensor := range f.Tensors {
		counts[tensor.Type.String()]++
	}
	return counts
}

func TestQuantize(t *testing.T) {
	base, out := tinyBase(t, square), filepath.Join(t.TempDir(), "out.gguf")
	stdout, stderr := want(t, cli.ExitOK, "quantize", base, out, "q4_k_m")
	if !strings.Contains(stdout, "Q4_K_M: ") || !strings.Contains(stdout, "written to "+out) ||
		!strings.Contains(stderr, " left  ") {
		t.Errorf("stdout %q, stderr %q", stdout, stderr)
	}
	if got := typesOf(t, out); got["Q4_K"] == 0 || got["Q6_K"] == 0 || got["F16"] != 0 {
		t.Errorf("types %v", got)
	}
	want(t, cli.ExitOK, "generate", "--base", out, "--prompt", "the", "--n", "2")

	stdout, _ = want(t, cli.ExitOK, "quantize", base, out, "Q4_0", "--tensor-type", "attn_q=Q8_0",
		"--token-embedding-type", "F16", "--json", "--force")
	doc := document(t, stdout, "outputs", "file_type", "size", "data_bytes", "bits_per_weight", "seconds", "tensors")
	if got := typesOf(t, out); got["Q8_0"] != 2 || got["F16"] != 1 {
		t.Errorf("types %v", got)
	}
	if info, err := os.Stat(out); err != nil || float64(info.Size()) != doc["size"] {
		t.Errorf("size %v, %v", doc["size"], err)
	}
	want(t, cli.ExitOK, "quantize", base, out, "Q5_K", "--pure", "--leave-output-tensor", "--threads", "1",
		"--force")
	if got := typesOf(t, out); got["Q5_K"] != 15 {
		t.Errorf("types %v", got)
	}
}

func TestQuantizeDryRun(t *testing.T) {
	base := tinyBase(t, square)
	dir := filepath.Dir(base)
	for _, args := range [][]string{{base, "Q4_K_M"}, {base, filepath.Join(dir, "out.gguf"), "Q4_K_M"}} {
		stdout, _ := want(t, cli.ExitOK, append([]string{"quantize", "--dry-run"}, args...)...)
		if !strings.Contains(stdout, "blk.1.ffn_down.weight") || !strings.Contains(stdout, "36,864") {
			t.Errorf("stdout %q", stdout)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v is there, %v", left, err)
	}
}

func TestQuantizeToTarget(t *testing.T) {
	base, out := tinyBase(t, square), filepath.Join(t.TempDir(), "out.gguf")
	stdout, stderr := want(t, cli.ExitOK, "quantize", base, out, "--target-size", "600k")
	if size := cli.FileSize(out); size > 600_000 || size < 580_000 {
		t.Errorf("a file of %d bytes", size)
	}
	if !strings.Contains(stdout, "mostly Q") || !strings.Contains(stderr, "trying types") {
		t.Errorf("stdout %q, stderr %q", stdout, stderr)
	}
	stdout, _ = want(t, cli.ExitOK, "quantize", base, "--target-bpw", "5.5", "--dry-run", "--json")
	doc := document(t, stdout, "target", "bits_per_weight")
	if bits := doc["bits_per_weight"].(float64); bits > 5.5 || bits < 5.4 {
		t.Errorf("%v bits a weight", bits)
	}
	_, stderr = want(t, cli.ExitError, "quantize", base, out, "--target-bpw", "1")
	if !strings.Contains(stderr, "smaller than the smallest possible file") {
		t.Errorf("stderr %q", stderr)
	}
}

func TestQuantizeUsage(t *testing.T) {
	for _, c := range []struct{ args, message string }{
		{"", "expected IN and OUT and TYPE, found 0 arguments"},
		{"a b", "found 2 arguments"},
		{"a b Q4_0 --target-bpw 4", "expected IN and OUT, found 3 arguments"},
		{"a b --dry-run --target-bpw 4 --pure", "--pure: cannot be combined with a target"},
		{"a b --target-bpw 4 --target-size 1G", "cannot be combined with --target-bpw"},
		{"a b --target-bpw -4", "--target-bpw: -4"},
		{"a b --target-size what", "target-size"},
		{"a b Q9_K", `no file type is named "Q9_K"; there are F32`},
		{"a b Q4_0 --tensor-type x", "--tensor-type: \"x\", expected PATTERN=TYPE"},
		{"a b Q4_0 --tensor-type (=Q4_0", "--tensor-type: pattern \"(\""},
		{"a b Q4_0 --output-tensor-type I32", "--output-tensor-type: nothing can be quantized to I32"},
		{"a b Q4_0 --token-embedding-type what", "--token-embedding-type: "},
		{"a b Q4_0 --leave-output-tensor --output-tensor-type F16", "cannot be combined with"},
		{"a b Q4_0 --threads -1", "--threads: -1"},
		{"a b Q4_0 --imatrx x", "did you mean --imatrix"},
	} {
		if _, stderr := want(t, cli.ExitUsage,
			append([]string{"quantize"}, strings.Fields(c.args)...)...); !strings.Contains(stderr, c.message) {
			t.Errorf("%s: stderr %q lacks %q", c.args, stderr, c.message)
		}
	}
}

func TestQuantizeRefuses(t *testing.T) {
	base := tinyBase(t, square)
	dir := t.TempDir()
	out := filepath.Join(dir, "out.gguf")
	for _, c := range []struct {
		name, message string
		args          []string
	}{
		{"no input", "absent.gguf", []string{"absent.gguf", out, "Q4_0"}},
		{"no model", "", []string{tinyText(t), out, "Q4_0"}},
		{"no importance matrix", "needs an importance matrix (--imatrix", []string{base, out, "IQ2_XS"}},
		{"absent importance matrix", "absent.dat", []string{base, out, "Q4_0", "--imatrix", "absent.dat"}},
		{"a text as importance matrix", "imatrix: ", []string{base, out, "Q4_0", "--imatrix", tinyText(t)}},
		{"over itself", "is an input of this command", []string{base, base, "Q4_0"}},
		{"no directory", "does not exist", []string{base, filepath.Join(dir, "no", "out.gguf"), "Q4_0"}},
		{"quantized already", "has to be allowed (--allow-requantize)",
			[]string{tinyBase(t, tinyModel{256, 8, 2, 256, 1, gguf.Q8_0, 1}), out, "Q4_0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, stderr := want(t, cli.ExitError,
				append([]string{"quantize"}, c.args...)...); !strings.Contains(stderr, c.message) {
				t.Errorf("stderr %q lacks %q", stderr, c.message)
			}
			empty(t, dir)
		})
	}
}

// TestQuantizeWarns: types that do not fit, and tensors without importance.
func TestQuantizeWarns(t *testing.T) {
	narrow := tinyBase(t, tiny)
	out := filepath.Join(t.TempDir(), "out.gguf")
	_, stderr := want(t, cli.ExitOK, "quantize", narrow, out, "Q4_K_M")
	if !strings.Contains(stderr, "do not fit their type, for example") {
		t.Errorf("stderr %q", stderr)
	}
	matrix := filepath.Join(t.TempDir(), "imatrix.gguf")
	want(t, cli.ExitOK, "imatrix", "--base", narrow, "--data", tinyText(t), "--ctx", "32", "--out", matrix)
	deeper := tiny
	deeper.layers = 3
	_, stderr = want(t, cli.ExitOK, "quantize", tinyBase(t, deeper), out, "Q4_0", "--imatrix", matrix, "--force")
	if !strings.Contains(stderr, "has no entry for 7 quantized tensors, for example blk.2.attn_k.weight") {
		t.Errorf("stderr %q", stderr)
	}
}

func TestQuantizeKeepsSplit(t *testing.T) {
	base, dir := tinyBase(t, square), t.TempDir()
	prefix := filepath.Join(dir, "part")
	want(t, cli.ExitOK, "split", base, prefix, "--max-tensors", "8")
	whole, joined := filepath.Join(t.TempDir(), "whole.gguf"), filepath.Join(t.TempDir(), "joined.gguf")
	want(t, cli.ExitOK, "quantize", base, whole, "Q4_0")
	want(t, cli.ExitOK, "quantize", prefix+"-00002-of-00003.gguf", joined, "Q4_0")
	same(t, whole, joined)

	out := filepath.Join(t.TempDir(), "out.gguf")
	stdout, _ := want(t, cli.ExitOK, "quantize", "--keep-split", prefix+"-00001-of-00003.gguf", out, "Q4_0")
	if !strings.Contains(stdout, "out-00003-of-00003.gguf") || cli.Exists(out) {
		t.Errorf("stdout %q", stdout)
	}
	want(t, cli.ExitOK, "generate", "--base", strings.TrimSuffix(out, ".gguf")+"-00001-of-00003.gguf", "--prompt", "the",
		"--n", "2")
	_, stderr := want(t, cli.ExitError, "quantize", "--keep-split", prefix+"-00001-of-00003.gguf", prefix+".gguf", "Q4_0")
	if !strings.Contains(stderr, "is an input of this command") {
		t.Errorf("stderr %q", stderr)
	}
}

// TestQuantizeIsNotHalfDone: neither a kill nor an interrupt leaves a part of a file under the final name, and an
// interrupt leaves nothing at all.
func TestQuantizeIsNotHalfDone(t *testing.T) {
	m := square
	m.width, m.ffn, m.layers = 512, 4096, 3
	base := tinyBase(t, m)
	whole := filepath.Join(t.TempDir(), "whole.gguf")
	start := time.Now()
	killAfter(t, time.Minute, "quantize", base, whole, "Q4_K_M")
	took := time.Since(start)
	complete, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	for _, delay := range kills(took) {
		out := filepath.Join(t.TempDir(), "out.gguf")
		killAfter(t, delay, "quantize", base, out, "Q4_K_M")
		if got, err := os.ReadFile(out); err == nil && !bytes.Equal(got, complete) {
			t.Errorf("killed after %v: %d bytes under the final name, a whole file has %d", delay, len(got), len(complete))
		}
	}
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr bytes.Buffer
	args := []string{"quantize", base, filepath.Join(dir, "out.gguf"), "Q4_K_M"}
	if status := run(ctx, args, cli.Streams{In: strings.NewReader(""), Out: &stdout,
		Err: &stderr}); status != cli.ExitInterrupted {
		t.Errorf("exit status %d: %s", status, stderr.String())
	}
	empty(t, dir)
}

func TestImatrix(t *testing.T) {
	base, data, dir := tinyBase(t, square), tinyText(t), t.TempDir()
	first, second, both := filepath.Join(dir, "first.gguf"), filepath.Join(dir, "second.gguf"),
		filepath.Join(dir, "both.gguf")
	stdout, _ := want(t, cli.ExitOK, "imatrix", "--base", base, "--data", data, "--ctx", "32", "--chunks", "3", "--out",
		first)
	if !strings.Contains(stdout, "14 tensors, measured on 3 windows of 32 tokens") {
		t.Errorf("stdout %q", stdout)
	}
	again := filepath.Join(dir, "again.gguf")
	want(t, cli.ExitOK, "imatrix", "--base", base, "--data", data, "--ctx", "32", "--chunks", "3", "--out", again,
		"--threads", "1")
	same(t, first, again)
	stdout, _ = want(t, cli.ExitOK, "imatrix", "--base", base, "--data", data, "--ctx", "32", "--out", second,
		"--process-output", "--from", first, "--json")
	doc := document(t, stdout, "output", "datasets", "entries", "chunks", "chunk_size")
	if doc["entries"] != 15.0 || len(doc["datasets"].([]any)) != 2 {
		t.Errorf("document %v", doc)
	}
	want(t, cli.ExitOK, "imatrix", "--from", first, "--from", second, "--ctx", "32", "--out", both)
	for _, typ := range []string{"IQ2_XS", "IQ4_NL"} {
		want(t, cli.ExitOK, "quantize", base, filepath.Join(dir, "out.gguf"), typ, "--imatrix", both,
			"--force")
	}
}

func TestImatrixRefuses(t *testing.T) {
	base, data := tinyBase(t, tiny), tinyText(t)
	for _, c := range []struct{ args, message string }{
		{"", "missing required flags --base and --data"},
		{"--base b", "one needs the other"},
		{"--base b --data d --ctx 3", "--ctx: 3"},
		{"--base b --data d --chunks -1", "--chunks: -1"},
		{"--from a --threads -1", "--threads: -1"},
		{"--from a b", "unexpected argument"},
	} {
		if _, stderr := want(t, cli.ExitUsage,
			append([]string{"imatrix"}, strings.Fields(c.args)...)...); !strings.Contains(stderr, c.message) {
			t.Errorf("%s: stderr %q lacks %q", c.args, stderr, c.message)
		}
	}
	dir := t.TempDir()
	out := filepath.Join(dir, "out.gguf")
	wide := tiny
	wide.width = 64
	other := filepath.Join(t.TempDir(), "other.gguf")
	want(t, cli.ExitOK, "imatrix", "--base", tinyBase(t, wide), "--data", data, "--ctx", "32", "--out", other)
	for _, c := range []struct {
		message string
		args    []string
	}{
		{"made for 64", []string{"--base", base, "--data", data, "--ctx", "65"}},
		{"less than one window", []string{"--base", base, "--data", writeFile(t, "short.txt", []byte("the sea")), "--ctx",
			"64"}},
		{"not of one model", []string{"--base", base, "--data", data, "--ctx", "32", "--from", other}},
		{"is an input", []string{"--from", other, "--out", other}},
		{"absent.dat", []string{"--from", "absent.dat"}},
	} {
		if _, stderr := want(t, cli.ExitError,
			slices.Concat([]string{"imatrix", "--out", out}, c.args)...); !strings.Contains(stderr, c.message) {
			t.Errorf("%v: stderr %q lacks %q", c.args, stderr, c.message)
		}
	}
	empty(t, dir)
}

// TestQuantizeGolden writes one of llama-quantize's files with the command.
func TestQuantizeGolden(t *testing.T) {
	const sum = "f3988b138f64bd1ae4e5889ab4c57f9f0a1fee61bd71e498e414ffa4271b81e1"
	in, matrix := testdata.Shared(t, "quant/files/tiny-llama-f16.gguf"),
		testdata.Shared(t, "quant/files/tiny-llama-imatrix.gguf")
	out := filepath.Join(t.TempDir(), "out.gguf")
	t.Chdir(filepath.Dir(matrix))
	want(t, cli.ExitOK, "quantize", in, out, "Q4_K_M", "--imatrix", filepath.Base(matrix))
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(data)); got != sum {
		t.Errorf("SHA-256 %s, want %s", got, sum)
	}
}
