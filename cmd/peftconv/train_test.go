package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/cli"
)

func TestTrainReports(t *testing.T) {
	base, data := tinyBase(t, tiny), tinyText(t)
	out := filepath.Join(t.TempDir(), "out.safetensors")
	args := []string{"train", "--base", base, "--data", data, "--eval-data", data, "--out", out, "--steps", "30",
		"--seq-len", "48", "--batch-tokens", "96", "--eval-every", "10"}
	stdout, stderr := want(t, cli.ExitOK, args...)
	for _, part := range []string{"loss on evaluation data: base ", "tokens/s, peak memory", "peftconv merge --base " +
		base, "peftconv eval", "peftconv export"} {
		if !strings.Contains(stdout, part) {
			t.Errorf("no %q in\n%s", part, stdout)
		}
	}
	for _, part := range []string{"step 30/30", "LoRA of rank 8 on 14 weights", "step 10: loss on the evaluation data"} {
		if !strings.Contains(stderr, part) {
			t.Errorf("no %q in\n%s", part, stderr)
		}
	}
	stdout, _ = want(t, cli.ExitOK, append(args, "--json", "--force")...)
	doc := document(t, stdout, "steps", "tokens", "base_loss", "eval_loss", "tokens_per_second", "peak_rss_bytes",
		"adapter")
	if doc["steps"] != 30.0 || doc["adapter"] != out {
		t.Errorf("steps %v, adapter %v", doc["steps"], doc["adapter"])
	}
	if doc["eval_loss"].(float64) > doc["base_loss"].(float64)-0.5 {
		t.Errorf("the loss fell only from %v to %v", doc["base_loss"], doc["eval_loss"])
	}
}

func TestTrainWithoutEvaluationData(t *testing.T) {
	base := tinyBase(t, tiny)
	out := filepath.Join(t.TempDir(), "out.safetensors")
	stdout, _ := want(t, cli.ExitOK, "train", "--base", base, "--data", tinyText(t), "--out", out, "--steps", "3",
		"--seq-len", "48")
	if !strings.Contains(stdout, "loss on a sample of the training data: base ") {
		t.Errorf("what the loss was measured on is not said:\n%s", stdout)
	}
}

func TestTrainIsTheSameForAnyThreads(t *testing.T) {
	base := tinyBase(t, tiny)
	one, two := trained(t, base, "--threads", "1"), trained(t, base, "--threads", "2")
	same(t, one, two)
}

func TestTrainData(t *testing.T) {
	base := tinyBase(t, tiny)
	for _, c := range []struct {
		name, file, data string
		flags            []string
	}{
		{"text field", "x.jsonl", `{"text":"the sea is in the rain"}`, nil},
		{"prompt", "x.jsonl", `{"prompt":"the sea","completion":" is in the rain"}`, nil},
		{"question", "x.jsonl", `{"question":"the sea","answer":" is in the rain"}`, nil},
		{"named text", "x.jsonl", `{"body":"the sea is in the rain"}`, []string{"--text-field", "body"}},
		{"named pair", "x.jsonl", `{"user":"the sea","bot":"is in the rain"}`,
			[]string{"--prompt-field", "user", "--completion-field", "bot"}},
		{"token ids", "x.jsonl", `{"input_ids":[1,5,6,7,8]}`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := writeFile(t, c.file, []byte(strings.Repeat(c.data+"\n", 4)))
			out := filepath.Join(t.TempDir(), "out.safetensors")
			want(t, cli.ExitOK, append([]string{"train", "--base", base, "--data", data, "--out", out, "--steps", "2",
				"--seq-len", "48"}, c.flags...)...)
		})
	}
}

func TestTrainUsage(t *testing.T) {
	for _, c := range []struct{ flags, message string }{
		{"--rank 0", "--rank: 0"}, {"--dropout 1", "--dropout: 1"}, {"--alpha NaN", "--alpha: NaN"}, {"--lr -1", "--lr: -1"},
		{"--lr NaN", "--lr: NaN"}, {"--schedule step", `--schedule: "step"`}, {"--optimizer sgd", `--optimizer: "sgd"`},
		{"--method doras", `--method: "doras"`}, {"--init zero", `--init: "zero"`}, {"--warmup -1", "--warmup: -1"},
		{"--weight-decay -0.1", "--weight-decay: -0.1"}, {"--clip NaN", "--clip: NaN"}, {"--epochs -1", "--epochs: -1"},
		{"--batch-tokens 1", "--batch-tokens: 1"}, {"--accumulate 0", "--accumulate: 0"}, {"--seq-len 1", "--seq-len: 1"},
		{"--save-every -1", "--save-every: -1"},
		{"--eval-every 5", "--eval-every: needs --eval-data"}, {"--threads -1", "--threads: -1"},
		{"--prompt-field p", "one needs the other"}, {"--text-field t --prompt-field p --completion-field c", "--text-field"},
		{"--rnak 3", "did you mean --rank?"}, {"--seed x", "seed"},
	} {
		args := append([]string{"train", "--base", "b", "--data", "d", "--out", "o.safetensors"}, strings.Fields(c.flags)...)
		if _, stderr := want(t, cli.ExitUsage, args...); !strings.Contains(stderr, c.message) {
			t.Errorf("%s: stderr %q lacks %q", c.flags, stderr, c.message)
		}
	}
	_, stderr := want(t, cli.ExitUsage, "train")
	if !strings.Contains(stderr, "missing required flags --base, --data, --out") {
		t.Errorf("stderr %q", stderr)
	}
}

// TestTrainRefuses feeds what cannot be trained on; nothing may be left in the output's directory.
func TestTrainRefuses(t *testing.T) {
	good, data := tinyBase(t, tiny), tinyText(t)
	bytesOf, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	spoiled := filepath.Join(t.TempDir(), "nan.gguf")
	tiny.write(t, spoiled, func(name string, values []float32) {
		if name == "blk.1.ffn_up.weight" {
			values[40] = float32(nan())
		}
	})
	for _, c := range []struct {
		name, base, data string
		flags            []string
		messages         []string
	}{
		{"no base", "absent.gguf", data, nil, []string{"absent.gguf"}},
		{"truncated base", writeFile(t, "cut.gguf", bytesOf[:len(bytesOf)-1000]), data, nil, []string{"cut.gguf"}},
		{"truncated header", writeFile(t, "cut.gguf", bytesOf[:100]), data, nil, []string{"cut.gguf"}},
		{"wrong magic", writeFile(t, "x.gguf", []byte("GGML and more of it, for what it is worth")), data, nil,
			[]string{"x.gguf"}},
		{"tensor out of bounds", outOfBounds(t, bytesOf), data, nil, []string{"far.gguf", "blk.1.ffn_norm.weight"}},
		{"NaN in weights", spoiled, data, nil, []string{"blk.1.ffn_up.weight"}},
		{"no data", good, "absent.txt", nil, []string{"absent.txt"}},
		{"rank above the width", good, data, []string{"--rank", "33"},
			[]string{"rank 33 is more than the width of the model, 32"}},
		{"empty text", good, writeFile(t, "empty.txt", nil), nil, []string{"empty.txt"}},
		{"empty JSONL", good, writeFile(t, "empty.jsonl", []byte("\n")), nil, []string{"empty.jsonl"}},
		{"broken JSONL", good, writeFile(t, "x.jsonl", []byte("{\"text\":\"a\"}\n{\"text\":\n")), nil,
			[]string{"x.jsonl", "2"}},
		{"unknown fields", good, writeFile(t, "x.jsonl", []byte("{\"body\":\"a\"}\n")), nil, []string{"x.jsonl", "1"}},
		{"id beyond the vocabulary", good, writeFile(t, "x.jsonl", []byte("{\"input_ids\":[1,5,99999]}\n")), nil,
			[]string{"99999", "vocabulary"}},
		{"no such target", good, data, []string{"--targets", "c_attn"}, []string{"c_attn", "q_proj"}},
		{"no such layer", good, data, []string{"--layers", "last:9"}, []string{"last:9", "2"}},
		{"longer than the context", good, data, []string{"--seq-len", "100"}, []string{"64"}},
		{"no such checkpoint", good, data, []string{"--resume", "absent.safetensors"}, []string{"absent.safetensors"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			args := append([]string{"train", "--base", c.base, "--data", c.data, "--out", filepath.Join(dir, "out.safetensors"),
				"--steps", "2", "--seq-len", "48"}, c.flags...)
			_, stderr := want(t, cli.ExitError, args...)
			for _, message := range c.messages {
				if !strings.Contains(stderr, message) {
					t.Errorf("stderr %q lacks %q", stderr, message)
				}
			}
			empty(t, dir)
		})
	}
}

// empty checks that a directory has nothing in it.
func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func nan() float64 { zero := 0.0; return zero / zero }

// outOfBounds is a model one of whose tensors is beyond the end of the file.
func outOfBounds(t *testing.T, good []byte) string {
	t.Helper()
	f, err := gguf.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	last := f.Tensors[len(f.Tensors)-1]
	data := bytes.Clone(good)
	at := bytes.LastIndex(data[:f.DataOffset], []byte(last.Name)) + len(last.Name)
	// After the name come the number of dimensions, the one dimension, the type, and the offset of 8 bytes.
	data[at+4+8+4+5] = 0x7f
	return writeFile(t, "far.gguf", data)
}

func TestTrainOutputs(t *testing.T) {
	base, data := tinyBase(t, tiny), tinyText(t)
	for _, c := range []struct {
		status       int
		out, message string
	}{
		{cli.ExitUsage, filepath.Join(t.TempDir(), "out.gguf"), ".safetensors"},
		{cli.ExitError, filepath.Join(t.TempDir(), "absent", "out.safetensors"), "does not exist"},
		{cli.ExitUsage, t.TempDir(), ".safetensors"},
	} {
		if _, stderr := want(t, c.status, "train", "--base", base, "--data", data, "--out",
			c.out); !strings.Contains(stderr, "--out") || !strings.Contains(stderr, c.message) {
			t.Errorf("--out %s: stderr %q lacks %q", c.out, stderr, c.message)
		}
	}
}

// TestTrainCutsToContext: without --seq-len text is cut into pieces that the model was made for.
func TestTrainCutsToContext(t *testing.T) {
	base, out := tinyBase(t, tiny), filepath.Join(t.TempDir(), "out.safetensors")
	data := filepath.Join(t.TempDir(), "data.txt")
	if err := os.WriteFile(data, bytes.Repeat([]byte("a tale "), 50), 0o666); err != nil {
		t.Fatal(err)
	}
	args := []string{"train", "--base", base, "--data", data, "--steps", "1", "--out", out}
	want(t, cli.ExitOK, args...)
	if _, stderr := want(t, cli.ExitError, append(args, "--seq-len", "100", "--force")...); !strings.Contains(stderr,
		"example 1 has 100 tokens, but "+base+" was made for no more than 64") {
		t.Error(stderr)
	}
}

// TestTrainRankTooLarge: the error names the weight that has too few singular vectors, and what helps.
func TestTrainRankTooLarge(t *testing.T) {
	_, stderr := want(t, cli.ExitError, "train", "--base", tinyBase(t, tiny), "--data", tinyText(t), "--init", "pissa",
		"--rank", "24", "--out", filepath.Join(t.TempDir(), "out.safetensors"))
	if !strings.Contains(stderr, "pissa: rank 24 is larger than model.layers.0.self_attn.k_proj, which is 16×32: give") {
		t.Error(stderr)
	}
}

// TestNextSteps runs the commands that train prints at its end, for every method.
func TestNextSteps(t *testing.T) {
	base, data := tinyBase(t, tiny), tinyText(t)
	for _, flags := range []string{
		"lora", "loha", "lokr", "vera", "oft", "adalora", "ia3", "ln-tuning", "bitfit", "prompt-tuning", "p-tuning",
		"prefix-tuning", "p-tuning-v2", "adapter", "adapter --placement serial-houlsby",
	} {
		out := filepath.Join(t.TempDir(), "out.safetensors")
		args := append([]string{"train", "--base", base, "--data", data, "--out", out, "--steps", "2", "--method"},
			strings.Fields(flags)...)
		stdout, _ := want(t, cli.ExitOK, args...)
		_, next, ok := strings.Cut(stdout, "\nNext:\n")
		if !ok || strings.Count(next, "\n") < 3 {
			t.Errorf("%s: %q", flags, stdout)
		}
		for line := range strings.Lines(next) {
			words := strings.Fields(strings.ReplaceAll(line, "'…'", "the"))
			if len(words) > 1 && words[0] == "peftconv" {
				want(t, cli.ExitOK, words[1:]...)
			}
		}
	}
}
