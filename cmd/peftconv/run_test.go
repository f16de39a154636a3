package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/peft"
)

// TestWindowOfModel: without --ctx windows are no longer than the model was made for.
func TestWindowOfModel(t *testing.T) {
	base, dir := tinyBase(t, tiny), t.TempDir()
	data := filepath.Join(dir, "data.txt")
	if err := os.WriteFile(data, bytes.Repeat([]byte("a tale "), 50), 0o666); err != nil {
		t.Fatal(err)
	}
	stdout, _ := want(t, cli.ExitOK, "eval", "--base", base, "--data", data, "--json")
	if doc := document(t, stdout, "ctx"); doc["ctx"] != 64.0 {
		t.Errorf("the context is %v", doc["ctx"])
	}
	want(t, cli.ExitOK, "imatrix", "--base", base, "--data", data, "--out", filepath.Join(dir, "imatrix.gguf"))
	_, stderr := want(t, cli.ExitError, "generate", "--base", base, "--file", data)
	if !strings.Contains(stderr, "the context only 64 (--ctx)") {
		t.Error(stderr)
	}
}

func TestGenerate(t *testing.T) {
	base := tinyBase(t, tiny)
	args := []string{"generate", "--base", base, "--prompt", "the sea", "--temperature", "0", "--n", "12"}
	stdout, stderr := want(t, cli.ExitOK, args...)
	if !strings.HasPrefix(stdout, "the sea") || !strings.HasSuffix(stdout, "\n") || !strings.Contains(stderr, "tokens/s") {
		t.Errorf("stdout %q, stderr %q", stdout, stderr)
	}
	out, _ := want(t, cli.ExitOK, append(args, "--json")...)
	doc := document(t, out, "text", "ids", "tokens", "prompt_tokens", "tokens_per_second", "stop")
	only, _ := want(t, cli.ExitOK, append(args, "--no-display-prompt")...)
	valid := string([]rune(only)) // the model's bytes need not be UTF-8; JSON says so with U+FFFD
	if valid != doc["text"].(string)+"\n" || stdout != "the sea"+only {
		t.Errorf("with the prompt %q, without %q, JSON %q", stdout, only, doc["text"])
	}
	status, file, _ := runWithInput(t, "the sea\n", "generate", "--base", base, "--file", "-", "--temperature", "0", "-n",
		"12")
	if status != cli.ExitOK || file != stdout {
		t.Errorf("from the standard input: %q, want %q", file, stdout)
	}
}

func runWithInput(t *testing.T, input string, args ...string) (int, string, string) {
	t.Helper()
	var out, err bytes.Buffer
	status := run(t.Context(), args, cli.Streams{In: strings.NewReader(input), Out: &out, Err: &err})
	return status, out.String(), err.String()
}

func TestGenerateDrawsBySeed(t *testing.T) {
	base := tinyBase(t, tiny)
	draw := func(seed string) string {
		out, _ := want(t, cli.ExitOK, "generate", "--base", base, "--prompt", "the sea", "--seed", seed, "--n", "20",
			"--temperature", "1")
		return out
	}
	first, again := draw("1"), draw("1")
	if first != again {
		t.Error("one seed gives two texts")
	}
	if first == draw("2") {
		t.Error("two seeds give one text")
	}
}

// TestGenerateParallel: several answers are those of their seeds, as text and as JSON.
func TestGenerateParallel(t *testing.T) {
	args := []string{"generate", "--base", tinyBase(t, tiny), "--prompt", "the sea", "-n", "12", "--temperature", "1"}
	say := func(more ...string) string {
		out, _ := want(t, cli.ExitOK, append(args[:len(args):len(args)], more...)...)
		return out
	}
	both := say("--seed", "5", "--parallel", "2")
	if wanted := "--- seed 5\n" + say("--seed", "5") + "--- seed 6\n" + say("--seed", "6"); both != wanted {
		t.Errorf("answers %q, want %q", both, wanted)
	}
	type answer struct {
		Text string
		IDs  []int32
	}
	var found struct{ Answers []answer }
	var second answer
	err := errors.Join(json.Unmarshal([]byte(say("--seed", "5", "--parallel", "2", "--json")), &found),
		json.Unmarshal([]byte(say("--seed", "6", "--json")), &second))
	if err != nil || len(found.Answers) != 2 || !reflect.DeepEqual(found.Answers[1], second) || len(second.IDs) == 0 {
		t.Errorf("%+v, error %v, want %+v second", found, err, second)
	}
	if half := say("--seed", "5", "--kv", "f16"); !strings.HasPrefix(half, "the sea") {
		t.Errorf("with keys and values in half precision: %q", half)
	}
	if exact := say("--seed", "5", "--exact-activations"); !strings.HasPrefix(exact, "the sea") {
		t.Errorf("with exact activations: %q", exact)
	}
}

func TestGenerateUsage(t *testing.T) {
	for _, c := range []struct{ args, message string }{
		{"--base b", "--prompt"},
		{"--prompt p", "--base"},
		{"--base b --prompt p --file f", "not both"},
		{"--base b --prompt p --n 0", "--n: 0"},
		{"--base b --prompt p --temperature -1", "--temperature: -1"},
		{"--base b --prompt p --top-p 0", "--top-p: 0"},
		{"--base b --prompt p --top-k -1", "--top-k: -1"},
		{"--base b --prompt p --parallel 0", "--parallel: 0"},
		{"--base b --prompt p --chat --parallel 2", "--parallel: a conversation"},
		{"--base b --prompt p --kv q4_0", "--kv: \"q4_0\" is not known, expected f32, f16 or q8_0"},
	} {
		if _, stderr := want(t, cli.ExitUsage,
			append([]string{"generate"}, strings.Fields(c.args)...)...); !strings.Contains(stderr, c.message) {
			t.Errorf("%s: stderr %q lacks %q", c.args, stderr, c.message)
		}
	}
}

// TestGenerateStory is the known greedy continuation of a trained model.
func TestGenerateStory(t *testing.T) {
	const story = ", there was a little girl named Lily. She loved to play outside in the " +
		"park. One day, she saw a big, red ball. She wanted to play with it, but it was too high."
	stdout, _ := want(t, cli.ExitOK, "generate", "--base", testdata.Shared(t, "models/stories260K.gguf"), "--prompt",
		"Once upon a time", "--temperature", "0", "--n", "80")
	if !strings.HasPrefix(stdout, "Once upon a time"+story) {
		t.Errorf("it goes on with %q", stdout)
	}
}

func TestEvalOnExamples(t *testing.T) {
	base := tinyBase(t, tiny)
	data := writeFile(t, "x.jsonl", []byte(`{"prompt":"the sea","completion":" is in the rain"}`+"\n"))
	stdout, _ := want(t, cli.ExitOK, "eval", "--base", base, "--data", data, "--seq-len", "48", "--json")
	document(t, stdout, "perplexity", "loss", "tokens", "ctx")
	stdout, _ = want(t, cli.ExitOK, "eval", "--base", base, "--data", data, "--seq-len", "48")
	if !strings.Contains(stdout, "loss") || !strings.Contains(stdout, "1 example") {
		t.Errorf("stdout %q", stdout)
	}
}

func TestEvalRefuses(t *testing.T) {
	base, data := tinyBase(t, tiny), tinyText(t)
	wide := tiny
	wide.width = 64
	adapter := trained(t, base)
	for _, c := range []struct {
		name, message string
		args          []string
	}{
		{"text shorter than a window", "window",
			[]string{"--base", base, "--data", writeFile(t, "short.txt", []byte("a")), "--ctx", "32"}},
		{"window beyond the context", "64", []string{"--base", base, "--data", data, "--ctx", "128"}},
		{"adapter of another base", "another base",
			[]string{"--base", tinyBase(t, wide), "--data", data, "--lora", adapter, "--ctx", "32"}},
		{"no data", "absent.txt", []string{"--base", base, "--data", "absent.txt"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, stderr := want(t, cli.ExitError,
				append([]string{"eval"}, c.args...)...); !strings.Contains(stderr, c.message) {
				t.Errorf("stderr %q lacks %q", stderr, c.message)
			}
		})
	}
	for _, args := range []string{"", "--data d", "--base b --data d --ctx 1", "--base b --data d --batch-tokens 0"} {
		want(t, cli.ExitUsage, append([]string{"eval"}, strings.Fields(args)...)...)
	}
}

// TestEvalWarnsOfAnotherBase: a base of the same shapes can be used, with a warning.
func TestEvalWarnsOfAnotherBase(t *testing.T) {
	twin := tiny
	twin.seed = 9
	adapter := trained(t, tinyBase(t, tiny))
	_, stderr := want(t, cli.ExitOK, "eval", "--base", tinyBase(t, twin), "--lora", adapter, "--data", tinyText(t),
		"--ctx", "32")
	if !strings.Contains(stderr, "warning: "+adapter) || !strings.Contains(stderr, "SHA-256") {
		t.Errorf("stderr %q", stderr)
	}
}

func TestExport(t *testing.T) {
	adapter := trained(t, tinyBase(t, tiny))
	file, dir := filepath.Join(t.TempDir(), "lora.gguf"), filepath.Join(t.TempDir(), "adapter")
	stdout, _ := want(t, cli.ExitOK, "export", "--lora", adapter, "--to", "gguf", "--out", file, "--json")
	document(t, stdout, "output", "format", "parameters", "bytes")
	f, err := gguf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for key, value := range map[string]string{"general.type": "adapter", "general.architecture": "llama",
		"adapter.type": "lora"} {
		if got, _ := f.Meta.String(key); got != value {
			t.Errorf("%s is %q, want %q", key, got, value)
		}
	}
	if f.Tensor("blk.0.attn_q.weight.lora_a") == nil {
		t.Error("no blk.0.attn_q.weight.lora_a")
	}
	want(t, cli.ExitOK, "export", "--lora", adapter, "--to", "peft", "--out", dir+"/")
	if _, err := peft.Load(dir); err != nil {
		t.Error(err)
	}
	again := filepath.Join(t.TempDir(), "again.gguf")
	stdout, _ = want(t, cli.ExitOK, "export", "--lora", dir, "--to", "gguf", "--out", again)
	if !strings.Contains(stdout, "tiny.gguf --lora "+again) {
		t.Errorf("the command for llama.cpp does not name the base: %s", stdout)
	}
	same(t, file, again)
}

// TestExportAdapters trains bottleneck adapters and writes the forms that they have.
func TestExportAdapters(t *testing.T) {
	base := tinyBase(t, tiny)
	adapter := filepath.Join(t.TempDir(), "out.safetensors")
	data := tinyText(t)
	want(t, cli.ExitOK, "train", "--base", base, "--data", data, "--out", adapter, "--method", "adapter", "--bottleneck",
		"4", "--steps", "2", "--seq-len", "48", "--batch-tokens", "96")
	file, dir := filepath.Join(t.TempDir(), "model.gguf"), filepath.Join(t.TempDir(), "hub")
	stdout, _ := want(t, cli.ExitOK, "export", "--lora", adapter, "--to", "model", "--out", file)
	if !strings.Contains(stdout, "llama-cli -m "+file) {
		t.Errorf("stdout %q", stdout)
	}
	want(t, cli.ExitOK, "eval", "--base", file, "--data", data, "--ctx", "32")
	if _, stderr := want(t, cli.ExitError, "export", "--lora", adapter, "--to", "adapterhub", "--out",
		dir); !strings.Contains(stderr, "reads the stream") {
		t.Errorf("stderr %q", stderr)
	}
	if _, stderr := want(t, cli.ExitError, "merge", "--lora", adapter,
		"--out", file+".merged"); !strings.Contains(stderr, "BOTTLENECK") {
		t.Errorf("stderr %q", stderr)
	}
	want(t, cli.ExitOK, "train", "--base", base, "--data", data, "--out", adapter, "--method", "adapter",
		"--force", "--adapter-input", "stream", "--bottleneck", "4", "--steps", "2", "--seq-len", "48",
		"--batch-tokens", "96")
	want(t, cli.ExitOK, "export", "--lora", adapter, "--to", "adapterhub", "--out", dir)
	want(t, cli.ExitOK, "eval", "--base", base, "--lora", dir, "--data", data, "--ctx", "32")
	if _, stderr := want(t, cli.ExitUsage, "train", "--base", base, "--data", data, "--out", adapter, "--method",
		"adapter", "--rank", "4"); !strings.Contains(stderr, "--rank has no effect") {
		t.Errorf("stderr %q", stderr)
	}
}

func TestExportUsage(t *testing.T) {
	for _, c := range []struct{ args, message string }{
		{"--lora a --to onnx --out o", `--to: "onnx"`},
		{"--lora a --to gguf --out o --type Q4_0", "--type"},
		{"--lora a --to gguf", "--out"},
	} {
		if _, stderr := want(t, cli.ExitUsage,
			append([]string{"export"}, strings.Fields(c.args)...)...); !strings.Contains(stderr, c.message) {
			t.Errorf("%s: stderr %q lacks %q", c.args, stderr, c.message)
		}
	}
}
