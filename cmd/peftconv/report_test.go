package main

import (
	"bytes"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/reporting"
	"github.com/peftconv/peftconv/internal/runlog"
	"github.com/peftconv/peftconv/peft/train"
)

// textOf is the text of a file.
func textOf(t *testing.T, path string) string {
	t.Helper()
	return string(readFile(t, path))
}

// TestReport reads the report that a run leaves, and makes the same again from the files beside the adapter; a run that
// is resumed continues it.
func TestReport(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out.safetensors")
	args := watchedRun(t, out)
	want(t, cli.ExitOK, args...)
	page := reporting.Path(out)
	first := textOf(t, page)
	for _, text := range []string{"<h2>Before and after</h2>", "<h2>Samples</h2>", "<h3>the sea</h3>", "after step 12",
		"self_attn.q_proj", "Lengths of the examples", "linear backward", "SHA-256 of the base",
		"out.yaml", "finished after 12 steps", "the weight&#39;s norm"} {
		if !strings.Contains(first, text) {
			t.Errorf("no %q in the report", text)
		}
	}
	want(t, cli.ExitOK, "report", out, "--out", filepath.Join(dir, "again.html"))
	if again := textOf(t, filepath.Join(dir, "again.html")); again != first {
		t.Error("made again, the report has other bytes")
	}
	adapter := textOf(t, out)
	want(t, cli.ExitOK, append(args, "--force", "--resume", train.StepCheckpointPath(out, 5), "--no-report")...)
	if textOf(t, page) != first {
		t.Error("--no-report writes one")
	}
	resume := []string{"--resume", train.StepCheckpointPath(out, 5)}
	if err := os.Remove(out); err != nil {
		t.Fatal(err)
	}
	want(t, cli.ExitOK, append(append(args, resume...), "--force")...)
	resumed := textOf(t, page)
	if !strings.Contains(resumed, "<dt>resumed</dt><dd>after step 5") || !strings.Contains(resumed, "after 12 steps") {
		t.Error("the report does not say that the run was resumed")
	}
	points := regexp.MustCompile(`<polyline points="([^"]*)"`)
	a, b := points.FindStringSubmatch(first), points.FindStringSubmatch(resumed)
	if a == nil || b == nil || a[1] != b[1] {
		t.Error("the report of a resumed run has another curve of the loss")
	}
	if textOf(t, out) != adapter {
		t.Error("without a report the adapter has other bytes")
	}
	stdout, _ := want(t, cli.ExitOK, "report", out, "--no-base", "--out", "-")
	if !strings.Contains(stdout, "Norm of the change") || strings.Contains(stdout, "weight&#39;s norm") {
		t.Error("--no-base looks at the base")
	}
	if _, stderr := want(t, cli.ExitError, "report", out); !strings.Contains(stderr, page+" is there already") {
		t.Error(stderr)
	}
}

// TestReportOfOthers compares runs, adds a merge, writes pictures and a model card, and reports a run that was killed
// and an adapter without a log.
func TestReportOfOthers(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	base, data := tinyBase(t, tiny), tinyText(t)
	for _, name := range []string{"one", "two"} {
		want(t, cli.ExitOK, "train", "--base", base, "--data", data, "--out", at(name+".safetensors"), "--steps", "3",
			"--seq-len", "48", "--no-report", "--rank", map[string]string{"one": "2", "two": "4"}[name])
	}
	stdout, _ := want(t, cli.ExitOK, "merge", "--base", base, "--lora", at("one.safetensors"), "--out", at("m.gguf"),
		"--json", "--eval-data", data, "--report", at("merge.html"))
	if page := textOf(t, at("merge.html")); !strings.Contains(page, "<h2>Merged into m.gguf</h2>") ||
		!strings.Contains(page, "finished after 3 steps") {
		t.Error("the report of a merge lacks the merge, or the run")
	}
	if err := os.WriteFile(at("m.json"), []byte(stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, cli.ExitOK, "report", at("one.safetensors"), at("two.log.jsonl"), at("m.json"), "--out", at("all.html"),
		"--png", at("pictures"), "--svg", at("pictures"), "--md", at("README.md"))
	page := textOf(t, at("all.html"))
	for _, text := range []string{"<h2>Merged into m.gguf</h2>", "Share of the change that survived", "The run one",
		"The run two", "base and adapter"} {
		if !strings.Contains(page, text) {
			t.Errorf("no %q in the report", text)
		}
	}
	card := textOf(t, at("README.md"))
	if !strings.HasPrefix(card, "---\nbase_model: ") || !strings.Contains(card, "datasets:\n- ") ||
		!strings.Contains(card, "](<pictures/loss.png>)") || !strings.Contains(card, "- lora\n") {
		t.Error(card)
	}
	picture, err := png.Decode(strings.NewReader(textOf(t, at("pictures/loss.png"))))
	if err != nil || picture.Bounds().Dx() < 400 || !cli.Exists(at("pictures/loss.svg")) {
		t.Errorf("the picture: %v", err)
	}
	// killed: the log is there up to some step, and no adapter
	log := textOf(t, at("one.log.jsonl"))
	cut := log[:strings.LastIndex(log, `{"kind":"step"`)+30]
	if err := os.WriteFile(at("killed.log.jsonl"), []byte(strings.ReplaceAll(cut, "one.safetensors", "gone.safetensors")),
		0o600); err != nil {
		t.Fatal(err)
	}
	want(t, cli.ExitOK, "report", at("killed.log.jsonl"))
	if page := textOf(t, at("killed.report.html")); !strings.Contains(page, "step 2 of 3: the run has not ended") {
		t.Error("the report of a killed run does not say so")
	}
	if err := os.Rename(at("two.safetensors"), at("alone.safetensors")); err != nil {
		t.Fatal(err)
	}
	want(t, cli.ExitOK, "report", at("alone.safetensors"))
	if page := textOf(t, at("alone.report.html")); !strings.Contains(page, "there is no log of its training") ||
		!strings.Contains(page, "<h2>Change of the weights</h2>") {
		t.Error("the report of an adapter alone lacks what its file says")
	}
	for text, args := range map[string][]string{
		"no such file": {at("absent.safetensors")}, "merge --json": {writeFile(t, "x.json", []byte("{}"))},
		"no line of kind": {writeFile(t, "x.log.jsonl", []byte("{\"kind\":\"step\",\"step\":1}\n"))},
	} {
		_, stderr := want(t, cli.ExitError, append([]string{"report", "--out", at("x.html")}, args...)...)
		if !strings.Contains(stderr, text) {
			t.Errorf("%s: %s", text, stderr)
		}
	}
	if cli.Exists(at("x.html")) {
		t.Error("a report that failed left a file")
	}
	want(t, cli.ExitUsage, "report")
	want(t, cli.ExitUsage, "report", at("one.safetensors"), "--base", base, "--no-base")
}

// TestReportCannotBeWritten puts a directory into its place while the run goes on: the adapter is there, and the status
// says that the report is not. On a busy machine the run may be over before: a longer one follows.
func TestReportCannotBeWritten(t *testing.T) {
	for steps := 300; ; steps *= 5 {
		out := filepath.Join(t.TempDir(), "out.safetensors")
		var errs bytes.Buffer
		cmd := process(t, &errs, "train", "--base", tinyBase(t, tiny), "--data", tinyText(t), "--out", out,
			"--seq-len", "48", "--batch-tokens", "96", "--steps", fmt.Sprint(steps))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline) && cli.FileSize(runlog.Path(out)) == 0; {
			time.Sleep(time.Millisecond)
		}
		err := os.MkdirAll(filepath.Join(reporting.Path(out), "x"), 0o700)
		cmd.Wait()
		status := cmd.ProcessState.ExitCode()
		if status == cli.ExitOK && err != nil && steps < 10000 {
			continue
		}
		if status != cli.ExitError || !cli.Exists(out) ||
			!strings.Contains(errs.String(), "is written, but not the report "+reporting.Path(out)) {
			t.Errorf("status %d, %v: %s", status, err, errs.String())
		}
		return
	}
}
