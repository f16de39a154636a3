package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/cli"
)

// trainWith trains with a method for a few steps and gives the adapter's file and what is printed.
func trainWith(t *testing.T, base, data string, flags ...string) (out, stdout, stderr string) {
	t.Helper()
	out = filepath.Join(t.TempDir(), "out.safetensors")
	args := append([]string{"train", "--base", base, "--data", data, "--out", out, "--steps", "3", "--seq-len", "48"},
		flags...)
	stdout, stderr = want(t, cli.ExitOK, args...)
	return out, stdout, stderr
}

// TestVirtualMethods trains, evaluates, generates and exports with every method that has virtual tokens.
func TestVirtualMethods(t *testing.T) {
	base, text := tinyBase(t, tiny), tinyText(t)
	for _, c := range []struct{ flags, describes, exports string }{
		{"--method prompt-tuning --virtual-tokens 3 --prompt-init random", "3 virtual tokens before the input", "model"},
		{"--method prompt-tuning --prompt-text sea", "virtual tokens before the input", "state"},
		{"--method prefix-tuning --prefix-projection --encoder-hidden 8",
			"20 keys and values before each attention, through a network of width 8", "state"},
		{"--method prefix-tuning --prompt-text sea --virtual-tokens 5", "5 keys and values before each attention", "peft"},
		{"--method p-tuning --encoder mlp --encoder-hidden 8", "through an encoder (MLP of width 8)", "model"},
		{"--method p-tuning --encoder-layers 1 --encoder-dropout 0.1", "through an encoder (LSTM of width 32)", "state"},
		{"--method p-tuning-v2 --virtual-tokens 4", "4 vectors at each block's input", "state"},
		{"--method p-tuning-v2 --form kv --hidden-init random", "20 keys and values", "peft"},
	} {
		t.Run(c.flags, func(t *testing.T) {
			out, stdout, stderr := trainWith(t, base, text, strings.Fields(c.flags)...)
			if !strings.Contains(stderr, c.describes) || strings.Contains(stdout, "peftconv merge") {
				t.Errorf("no %q in\n%s, or a merge is proposed in\n%s", c.describes, stderr, stdout)
			}
			want(t, cli.ExitOK, "eval", "--lora", out, "--data", text, "--ctx", "16")
			want(t, cli.ExitOK, "generate", "--lora", out, "--prompt", "the sea", "-n", "4")
			want(t, cli.ExitOK, "export", "--lora", out, "--to", c.exports, "--out", filepath.Join(t.TempDir(), "out"))
		})
	}
}

// TestTemplateFlag has virtual tokens among the fields of records.
func TestTemplateFlag(t *testing.T) {
	base := tinyBase(t, tiny)
	data := writeFile(t, "x.jsonl", []byte(strings.Repeat(`{"q":"the sea","a":"is in the rain"}`+"\n", 4)))
	out, _, stderr := trainWith(t, base, data, "--method", "p-tuning", "--template", "[P*2] {q} [P] so {a}",
		"--encoder-hidden", "4")
	if !strings.Contains(stderr, "3 virtual tokens among the fields of a template") {
		t.Errorf("the template is not told of:\n%s", stderr)
	}
	want(t, cli.ExitOK, "eval", "--lora", out, "--data", data)
	want(t, cli.ExitOK, "generate", "--lora", out, "--prompt", "the rain", "-n", "4")
	stdout, _ := want(t, cli.ExitOK, "export", "--lora", out, "--to", "model", "--out",
		filepath.Join(t.TempDir(), "m.gguf"))
	if !strings.Contains(stdout, "a prompt has to read <pt_0><pt_1>{q}<pt_2>so ") {
		t.Errorf("the prompt is not told of:\n%s", stdout)
	}
}

// TestClassifyFlags trains a head and answer words and evaluates them, with and without flags.
func TestClassifyFlags(t *testing.T) {
	base := tinyBase(t, tiny)
	data := writeFile(t, "x.jsonl",
		[]byte(strings.Repeat(`{"text":"the sea","label":"wet"}`+"\n"+`{"text":"the hearth","label":"dry"}`+"\n", 4)))
	task := []string{"--task", "classify", "--labels", "dry,wet"}
	head, stdout, _ := trainWith(t, base, data,
		append(task, "--method", "p-tuning-v2", "--virtual-tokens", "4", "--lr", "0.05", "--steps", "60")...)
	if !strings.Contains(stdout, "accuracy 100.00 %") {
		t.Errorf("the head does not tell two texts apart:\n%s", stdout)
	}
	stdout, _ = want(t, cli.ExitOK, "eval", "--lora", head, "--data", data)
	if !strings.Contains(stdout, "accuracy   100.00 %") {
		t.Errorf("read again:\n%s", stdout)
	}
	_, stderr := want(t, cli.ExitError, "generate", "--lora", head, "--prompt", "the sea")
	if !strings.Contains(stderr, "classifies") {
		t.Errorf("generating gives %q", stderr)
	}
	words, _, _ := trainWith(t, base, data,
		append(task, "--method", "p-tuning-v2", "--classifier", "words", "--virtual-tokens", "4")...)
	lora, _, _ := trainWith(t, base, data, task...)
	for _, adapter := range []string{words, lora} {
		if stdout, _ = want(t, cli.ExitOK, "eval", "--lora", adapter, "--data", data); !strings.Contains(stdout, "accuracy") {
			t.Errorf("no accuracy by words:\n%s", stdout)
		}
	}
	if stdout, _ = want(t, cli.ExitOK,
		append([]string{"eval", "--base", base, "--data", data}, task...)...); !strings.Contains(stdout, "accuracy") {
		t.Errorf("no accuracy of the base:\n%s", stdout)
	}
}

// TestVirtualUsage wants flags that make no sense to be refused.
func TestVirtualUsage(t *testing.T) {
	for _, c := range []struct{ flags, message string }{
		{"--method prompt-tuning --prompt-init best", `"best" is not known`},
		{"--method prompt-tuning --rank 4", "--rank has no effect with --method prompt-tuning"},
		{"--method p-tuning --encoder gru", `"gru" is not known`},
		{"--method p-tuning --template {a}", "0 virtual tokens"},
		{"--method p-tuning-v2 --form deep", `"deep" is not known`},
		{"--method p-tuning-v2 --classifier tree", `"tree" is not known`},
		{"--method p-tuning-v2 --classifier words", "needs --task classify"},
		{"--task sort", `"sort" is not known`}, {"--task classify", "needs --labels"},
		{"--labels a,b", "needs --task classify"},
	} {
		args := append([]string{"train", "--base", "b.gguf", "--data", "d.jsonl", "--out", "o.safetensors"},
			strings.Fields(c.flags)...)
		if _, stderr := want(t, cli.ExitUsage, args...); !strings.Contains(stderr, c.message) {
			t.Errorf("%s gives %q, want %q", c.flags, stderr, c.message)
		}
	}
}
