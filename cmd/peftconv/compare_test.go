package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/peft"
)

// wellFormed checks an XML document and counts its elements of a name.
func wellFormed(t *testing.T, document []byte, name string) (n int) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(document))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == name {
			n++
		}
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// checkPage looks at the page of a comparison.
func checkPage(t *testing.T, page string) {
	t.Helper()
	for _, part := range []string{"<h1>Comparison of methods</h1>", ">ia3</th>", "Loss on the evaluation data",
		"Loss of training", "20 steps of at most 96 tokens each"} {
		if !strings.Contains(page, part) {
			t.Errorf("no %q in the page", part)
		}
	}
}

func TestCompare(t *testing.T) {
	base, data, dir := tinyBase(t, tiny), tinyText(t), t.TempDir()
	svg, markdown, adapters := filepath.Join(dir, "curves.svg"), filepath.Join(dir, "table.md"),
		filepath.Join(dir, "adapters")
	args := []string{"compare", "--base", base, "--data", data, "--eval-data", data, "--steps", "20", "--seq-len", "48",
		"--batch-tokens", "96", "--methods", "lora:dora,rank=4,ia3", "--methods", "lora:rank=2", "--points", "4"}
	stdout, stderr := want(t, cli.ExitOK, append(args, "--svg", svg, "--markdown", markdown, "--dir", adapters,
		"--report", filepath.Join(dir, "page.html"))...)
	checkPage(t, string(readFile(t, filepath.Join(dir, "page.html"))))
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "method ") || !strings.HasPrefix(lines[1], "lora:dora,rank=4 ") ||
		!strings.HasPrefix(lines[2], "ia3 ") {
		t.Errorf("the table is\n%s", stdout)
	}
	for _, part := range []string{"1/3  lora:dora,rank=4: DoRA of rank 4 on 14 weights", "step 20/20",
		"3/3  lora:rank=2"} {
		if !strings.Contains(stderr, part) {
			t.Errorf("no %q in\n%s", part, stderr)
		}
	}
	if n := wellFormed(t, readFile(t, svg), "polyline"); n != 3 {
		t.Errorf("the picture has %d lines, want 3", n)
	}
	checkMarkdown(t, string(readFile(t, markdown)), 3)
	want(t, cli.ExitOK, "eval", "--base", base, "--lora", filepath.Join(adapters, "lora_dora,rank=4.safetensors"),
		"--data", data, "--ctx", "48")

	stdout, _ = want(t, cli.ExitOK, append(args, "--json")...)
	checkComparison(t, stdout)
}

// checkMarkdown wants the same number of cells in each line of a table.
func checkMarkdown(t *testing.T, text string, methods int) {
	t.Helper()
	rows := regexp.MustCompile(`(?m)^\|.*\|$`).FindAllString(text, -1)
	if len(rows) != 2+methods {
		t.Fatalf("%d lines in the table, want %d:\n%s", len(rows), 2+methods, text)
	}
	for _, row := range rows {
		if strings.Count(row, "|") != strings.Count(rows[0], "|") {
			t.Errorf("%s\nhas not as many cells as\n%s", row, rows[0])
		}
	}
	for _, part := range []string{"| `ia3` |", "](<curves.svg>)", "20 steps of at most 96 tokens each"} {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
}

func checkComparison(t *testing.T, stdout string) {
	t.Helper()
	doc := document(t, stdout, "base", "batch_tokens", "accumulate", "schedule", "seed")
	for i, m := range doc["methods"].([]any) {
		method := m.(map[string]any)
		if after, before := method["eval_loss"].(float64), method["base_loss"].(float64); !(after < before) {
			t.Errorf("%v: the loss went from %v to %v", method["name"], before, after)
		}
		if train, eval := method["train_curve"].([]any), method["eval_curve"].([]any); len(train) != 20 || len(eval) != 4 {
			t.Errorf("%v: curves of %d and %d points, want 20 and 4", method["name"], len(train), len(eval))
		}
		for _, key := range []string{"parameters", "bytes", "learning_rate", "tokens_per_second", "peak_rss_bytes",
			"seconds"} {
			if v, ok := method[key].(float64); !ok || v <= 0 {
				t.Errorf("method %d: %s is %v", i, key, method[key])
			}
		}
	}
}

// TestCompareAll: of all methods those that a base does not allow are left out, and named.
func TestCompareAll(t *testing.T) {
	base := filepath.Join(t.TempDir(), "base.gguf")
	archtest.Named(t, "mamba2").Write(t, base)
	stdout, stderr := want(t, cli.ExitOK, "compare", "--base", base, "--data", tinyText(t), "--steps", "1",
		"--seq-len", "16", "--batch-tokens", "16", "--points", "1")
	for _, name := range []string{"ia3", "adapter", "prefix-tuning", "p-tuning-v2"} {
		if !strings.Contains(stderr, "note: "+name+" is left out: new adapter: ") || strings.Contains(stdout, "\n"+name+" ") {
			t.Errorf("%s is not left out:\n%s\n%s", name, stderr, stdout)
		}
	}
	for _, name := range []string{"lora", "ln-tuning", "prompt-tuning"} {
		if !strings.Contains(stdout, "\n"+name+" ") {
			t.Errorf("no %s in\n%s", name, stdout)
		}
	}
	_, stderr = want(t, cli.ExitError, "compare", "--base", base, "--data", tinyText(t), "--methods", "lora,ia3")
	if !strings.Contains(stderr, "ia3: new adapter: ") {
		t.Errorf("a method that was named: %s", stderr)
	}
}

// TestCompareIsTrain wants the results of train with the same flags.
func TestCompareIsTrain(t *testing.T) {
	base, data, dir := tinyBase(t, tiny), tinyText(t), t.TempDir()
	budget := []string{"--base", base, "--data", data, "--seq-len", "48", "--batch-tokens", "96", "--steps", "8"}
	want(t, cli.ExitOK, append([]string{"compare", "--methods", "ia3,lora:rank=4,prefix-tuning", "--dir", dir},
		budget...)...)
	for name, flags := range map[string][]string{"ia3": {"--method", "ia3"}, "lora_rank=4": {"--rank", "4"},
		"prefix-tuning": {"--method", "prefix-tuning"}} {
		out := filepath.Join(t.TempDir(), "out.safetensors")
		want(t, cli.ExitOK, slices.Concat([]string{"train", "--out", out}, budget, flags)...)
		one, err := peft.Load(out)
		if err != nil {
			t.Fatal(err)
		}
		other, err := peft.Load(filepath.Join(dir, name+".safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range one.Params() {
			if !slices.Equal(p.Data, other.Params()[i].Data) {
				t.Errorf("%s: %s differs from train's", name, p.Name)
			}
		}
	}
}

func TestCompareClasses(t *testing.T) {
	var lines strings.Builder
	for range 8 {
		lines.WriteString("{\"text\":\"the sea is in\",\"label\":\"rain\"}\n" +
			"{\"text\":\"and on the shore\",\"label\":\"sun\"}\n")
	}
	data := writeFile(t, "classes.jsonl", []byte(lines.String()))
	stdout, _ := want(t, cli.ExitOK, "compare", "--base", tinyBase(t, tiny), "--data", data, "--task", "classify",
		"--labels", "rain,sun", "--steps", "4", "--methods", "p-tuning-v2,lora", "--seq-len", "48")
	if !strings.Contains(stdout, "accuracy before") || strings.Count(stdout, " %") < 3 {
		t.Errorf("no accuracies in\n%s", stdout)
	}
}

func TestCompareBudgetInTokens(t *testing.T) {
	stdout, _ := want(t, cli.ExitOK, "compare", "--base", tinyBase(t, tiny), "--data", tinyText(t), "--methods", "ia3",
		"--tokens", "300", "--seq-len", "48", "--batch-tokens", "96", "--json")
	method := document(t, stdout)["methods"].([]any)[0].(map[string]any)
	if method["steps"] != 4.0 || method["tokens"].(float64) < 300 {
		t.Errorf("%v steps, %v tokens; want 4 steps and 300 tokens or more", method["steps"], method["tokens"])
	}
}

func TestCompareUsage(t *testing.T) {
	for _, c := range []struct{ flags, message string }{
		{"--methods lroa", `there is no method "lroa" to compare; did you mean "lora"?`},
		{"--methods lora,zzz", `there is no method "zzz" to compare, expected lora, ia3`},
		{"--methods discrete-prompt", `there is no method "discrete-prompt" to compare`},
		{"--methods lora,lora", "lora is given twice"},
		{"--methods lora:rnak=3", `methods have no flag "rnak"; did you mean "rank"?`},
		{"--methods lora:rank", "rank needs a value"},
		{"--methods lora:rank=x", `"x" is no value of it`},
		{"--methods lora:rank=0", "--rank: 0"},
		{"--methods lora:method=ia3", "no flag"},
		{"--methods ia3:rank=4", "--rank has no effect with --method ia3"},
		{"--methods lora:lr=-1", "lr: -1"},
		{"--methods rank=4,lora", `there is no method "rank=4"`},
		{"--demo", "--demo: cannot be combined with"},
		{"--tokens 5 --steps 5", "--tokens: cannot be combined with"},
		{"--points 0", "--points: 0"},
		{"--schedule step", `--schedule: "step"`},
		{"more", `unexpected argument "more"`},
	} {
		args := append([]string{"compare", "--base", "b", "--data", "d"}, strings.Fields(c.flags)...)
		if _, stderr := want(t, cli.ExitUsage, args...); !strings.Contains(stderr, c.message) {
			t.Errorf("%s: stderr %q lacks %q", c.flags, stderr, c.message)
		}
	}
	if _, stderr := want(t, cli.ExitUsage, "compare"); !strings.Contains(stderr, "--base and --data (or --demo)") {
		t.Errorf("stderr %q", stderr)
	}
}

// TestCompareChecksFirst has a method that does not fit the base after one that does: nothing may be trained.
func TestCompareChecksFirst(t *testing.T) {
	_, stderr := want(t, cli.ExitError, "compare", "--base", tinyBase(t, tiny), "--data", tinyText(t), "--methods",
		"ia3,lora:layers=last:9", "--seq-len", "48")
	if !strings.Contains(stderr, "lora:layers=last:9") || strings.Contains(stderr, "step ") {
		t.Errorf("stderr %q", stderr)
	}
}

// interruptAt is a standard error that cancels a run once a text was written to it.
type interruptAt struct {
	bytes.Buffer
	text   string
	cancel context.CancelFunc
}

func (w *interruptAt) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p)
	if strings.Contains(w.String(), w.text) {
		w.cancel()
	}
	return n, err
}

func TestCompareInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out bytes.Buffer
	stderr := &interruptAt{text: "2/2  ", cancel: cancel}
	status := run(ctx, []string{"compare", "--base", tinyBase(t, tiny), "--data", tinyText(t), "--methods", "ia3,bitfit",
		"--seq-len", "48", "--steps", "5"}, cli.Streams{In: strings.NewReader(""), Out: &out, Err: stderr})
	if status != cli.ExitInterrupted || !strings.Contains(out.String(), "\nia3 ") ||
		strings.Contains(out.String(), "bitfit") {
		t.Errorf("status %d, want %d with what was finished; stdout:\n%s", status, cli.ExitInterrupted, out.String())
	}
}
