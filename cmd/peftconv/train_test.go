package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/watching"
	"github.com/peftconv/peftconv/internal/modeltest"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/train"
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
	for _, part := range []string{"step 30/30", "LoRA of rank 8 on 14 weights", "step 10: loss on the evaluation data",
		": the base is not quantized\n"} {
		if !strings.Contains(stderr, part) {
			t.Errorf("no %q in\n%s", part, stderr)
		}
	}
	stdout, _ = want(t, cli.ExitOK, append(args, "--json", "--force")...)
	doc := document(t, stdout, "steps", "tokens", "base_loss", "eval_loss", "tokens_per_second", "peak_rss_bytes",
		"precision", "adapter")
	if doc["steps"] != 30.0 || doc["adapter"] != out {
		t.Errorf("steps %v, adapter %v", doc["steps"], doc["adapter"])
	}
	if doc["eval_loss"].(float64) > doc["base_loss"].(float64)-0.5 {
		t.Errorf("the loss fell only from %v to %v", doc["base_loss"], doc["eval_loss"])
	}
}

// TestTrainSaysItsPrecision trains over quantized weights, where int8 is chosen.
func TestTrainSaysItsPrecision(t *testing.T) {
	base := filepath.Join(t.TempDir(), "base.gguf")
	meta, tensors := modeltest.Llama(t, 1, gguf.Q8_0)
	modeltest.WriteGGUF(t, base, gguf.Format{}, meta, tensors, nil)
	args := []string{"train", "--base", base, "--data", writeFile(t, "ids.jsonl",
		[]byte(`{"input_ids":[3,4,5,6,7,3,4,5,6,7]}`)), "--out", filepath.Join(t.TempDir(), "out.safetensors"),
		"--steps", "1", "--lr", "0.001"}
	precision := "int8: the base is quantized, and over 9 tokens int8 changes the loss by "
	if !kernels.HasInt8() {
		precision = kernels.AutoPrecision().String() + ": this processor has no instructions for products of bytes"
	}
	if _, stderr := want(t, cli.ExitOK, args...); !strings.Contains(stderr, "precision "+precision) {
		t.Errorf("no %q in\n%s", precision, stderr)
	}
	stdout, _ := want(t, cli.ExitOK, append(args, "--dry-run", "--force")...)
	if !strings.Contains(stdout, precision) {
		t.Errorf("no %q in\n%s", precision, stdout)
	}
	if _, stderr := want(t, cli.ExitOK, append(args, "--precision", "f32", "--force")...); !strings.Contains(stderr,
		"precision f32: as asked for\n") {
		t.Errorf("the precision that was asked for is not said:\n%s", stderr)
	}
}

// TestMoreMemory says what more memory buys: larger parts, or activations that are kept.
func TestMoreMemory(t *testing.T) {
	plan := func(change func(*train.Options)) (*train.Memory, error) {
		o := train.Options{MicroBatch: 512}
		change(&o)
		m := &train.Memory{Activations: int64(o.MicroBatch) * 1e6}
		if o.Recompute == train.RecomputeNever {
			m.Activations *= 7
		}
		return m, nil
	}
	for _, c := range []struct {
		name string
		plan train.Memory
		want string
	}{
		{"all at once", train.Memory{Activations: 2e9, MicroBatch: 2048, BatchTokens: 2048}, ""},
		{"parts", train.Memory{Activations: 5e8, MicroBatch: 512, BatchTokens: 2048},
			"--micro-batch-tokens 2048 takes about 2.0 GB"},
		{"short examples", train.Memory{Activations: 2e9, MicroBatch: 512, BatchTokens: 2048}, ""},
		{"again", train.Memory{Recompute: true, MicroBatch: 512, BatchTokens: 2048}, "--recompute never takes about 3.6 GB"},
	} {
		if got := watching.MoreMemory(&c.plan, plan); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
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
		{"--batch-tokens 1", "--batch-tokens: 1"}, {"--micro-batch-tokens -1", "--micro-batch-tokens: -1"},
		{"--precision fp8", `--precision: precision "fp8"`}, {"--accumulate 0", "--accumulate: 0"}, {"--seq-len 1", "--seq-len: 1"},
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
