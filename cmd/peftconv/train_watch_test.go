package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/runlog"
	"github.com/peftconv/peftconv/peft/train"
)

// watchedRun is a training with everything that happens between steps.
func watchedRun(t *testing.T, out string, more ...string) []string {
	t.Helper()
	prompts := writeFile(t, "prompts.jsonl", []byte("{\"prompt\": \"the sea\"}\n\n{\"prompt\": \"a\\nrain\"}\n"))
	return append([]string{"train", "--base", tinyBase(t, tiny), "--data", tinyText(t), "--eval-data", tinyText(t),
		"--out", out, "--steps", "12", "--seq-len", "48", "--batch-tokens", "96", "--rank", "4", "--eval-every", "4",
		"--save-every", "5", "--keep", "3", "--sample-prompts", prompts, "--sample-every", "6", "--sample-tokens", "4"},
		more...)
}

// TestTrainLog reads the log of a run, and of the same run resumed from the middle.
func TestTrainLog(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.safetensors")
	events := filepath.Join(filepath.Dir(out), "events")
	args := watchedRun(t, out, "--tensorboard", events)
	_, stderr := want(t, cli.ExitOK, args...)
	for _, line := range []string{"step 4: loss on the evaluation data ", " ▼ 0.", "(the best)", "the base: the sea ⟶ ",
		"step 6: a\\nrain ⟶ ", "step 12: the sea ⟶ "} {
		if !strings.Contains(stderr, line) {
			t.Errorf("no %q in\n%s", line, stderr)
		}
	}
	if strings.Contains(stderr, "\x1b") {
		t.Errorf("colours without a terminal: %q", stderr)
	}
	check := func(starts int) *runlog.Log {
		t.Helper()
		log, err := runlog.Open(runlog.Path(out))
		if err != nil {
			t.Fatal(err)
		}
		if len(log.Starts) != starts || len(log.Steps) != 12 || len(log.Evaluations) != 4 || len(log.Samples) != 6 ||
			log.End == nil || len(log.End.BaseSHA256) != 64 || len(log.End.DataSHA256) != 64 {
			t.Fatalf("%d starts, %d steps, %d evaluations, %d samples, end %+v", len(log.Starts), len(log.Steps),
				len(log.Evaluations), len(log.Samples), log.End)
		}
		for i, s := range log.Steps {
			if s.Step != i+1 || s.Tokens < s.TokensWithLoss || s.TokensWithLoss <= 0 || s.Memory <= 0 {
				t.Errorf("%+v", s)
			}
		}
		return log
	}
	first := check(1)
	whole, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if s := first.Starts[0]; s.Data.TokensWithLoss <= 0 || s.Evaluation.Sample || len(s.Prompts) != 2 ||
		!strings.Contains(s.Adapter, "LoRA of rank 4") || s.Steps != 12 || len(s.Command) == 0 {
		t.Errorf("%+v", s)
	}
	want(t, cli.ExitOK, append(args, "--force", "--resume", train.StepCheckpointPath(out, 5))...)
	again := check(2)
	for i, s := range again.Samples {
		if s.Text != first.Samples[i].Text || s.Error != "" {
			t.Errorf("resumed, a sample is %+v, it was %+v", s, first.Samples[i])
		}
	}
	if resumed, err := os.ReadFile(out); err != nil || string(resumed) != string(whole) {
		t.Errorf("resumed, the run writes other bytes: %v", err)
	}
	if files, err := os.ReadDir(events); err != nil || len(files) == 0 || len(files) > 2 {
		t.Errorf("events for TensorBoard: %v, %v", files, err)
	}
	other := filepath.Join(t.TempDir(), "other.safetensors")
	if _, stderr := want(t, cli.ExitError, append(args, "--out", other)...); !strings.Contains(stderr,
		"--tensorboard: "+events+" has the events of another run") {
		t.Error(stderr)
	}
	if !cli.Exists(train.StepCheckpointPath(out, 10)) {
		t.Error("the checkpoint of step 10 is not kept")
	}
}

// TestTrainLogKilled wants the log of a killed run whole up to its last line, and moved aside by the next run.
func TestTrainLogKilled(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.safetensors")
	base, data := tinyBase(t, tiny), tinyText(t)
	args := []string{"train", "--base", base, "--data", data, "--out", out, "--seq-len", "48", "--batch-tokens", "96"}
	cmd := process(t, nil, append(args, "--steps", "1000000")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if cli.FileSize(runlog.Path(out)) > 4000 {
			break
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	log, err := runlog.Open(runlog.Path(out))
	if err != nil || len(log.Steps) < 5 || log.End != nil {
		t.Fatalf("%v", err)
	}
	_, stderr := want(t, cli.ExitOK, append(args, "--steps", "2")...)
	if old, err := runlog.Open(runlog.OldPath(runlog.Path(out))); err != nil || len(old.Steps) < len(log.Steps) ||
		!strings.Contains(stderr, "is moved to ") {
		t.Errorf("%v\n%s", err, stderr)
	}
	_, stderr = want(t, cli.ExitError, append(args, "--steps", "2")...)
	if !strings.Contains(stderr, "is there already") {
		t.Error(stderr)
	}
}

// TestTrainLogElsewhere gives the log another name, leaves it out, and never replaces another file. It wants the size
// of a base that is a directory.
func TestTrainLogElsewhere(t *testing.T) {
	dir := t.TempDir()
	out, log := filepath.Join(dir, "out.safetensors"), filepath.Join(dir, "elsewhere")
	args := []string{"train", "--base", tinyBase(t, tiny), "--data", tinyText(t), "--out", out, "--steps", "1",
		"--seq-len", "48", "--batch-tokens", "96"}
	want(t, cli.ExitOK, append(args, "--log", log)...)
	if !runlog.IsLog(log) || cli.Exists(runlog.Path(out)) {
		t.Error("the log is not where it should be")
	}
	want(t, cli.ExitOK, append(args, "--no-log", "--force")...)
	if cli.Exists(runlog.Path(out)) {
		t.Error("--no-log writes one")
	}
	note := filepath.Join(dir, "other.log.jsonl")
	if err := os.WriteFile(note, []byte("mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	args[6] = filepath.Join(dir, "other.safetensors")
	if _, stderr := want(t, cli.ExitError, args...); !strings.Contains(stderr, note+" is there already") {
		t.Error(stderr)
	}

	hf, third := filepath.Join(dir, "hf"), filepath.Join(dir, "third.safetensors")
	want(t, cli.ExitOK, "convert", args[2], "--to", "hf", "--out", hf)
	args[2], args[6] = hf, third
	want(t, cli.ExitOK, args...)
	weights := cli.FileSize(filepath.Join(hf, "model.safetensors"))
	if l, err := runlog.Open(runlog.Path(third)); err != nil || l.Starts[0].BaseBytes < weights {
		t.Errorf("%v: a base in a directory has %d bytes, its weights have %d", err, l.Starts[0].BaseBytes, weights)
	}
}

// TestTrainStopsEarly ends a run whose evaluation loss does not fall, with the adapter of the best evaluation.
func TestTrainStopsEarly(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.safetensors")
	args := watchedRun(t, out, "--lr", "3", "--schedule", "constant", "--early-stop", "2", "--keep-best",
		"--eval-every", "1", "--steps", "60")
	stdout, _ := want(t, cli.ExitOK, args...)
	if !strings.Contains(stdout, "stopped early: the evaluation loss fell no more in 2 evaluations") ||
		!strings.Contains(stdout, "the adapter is that of step ") {
		t.Error(stdout)
	}
	for flags, message := range map[string]string{
		"--eval-every 0 --early-stop 2": "--early-stop: ", "--eval-every 0 --keep-best": "--keep-best: ",
		"--save-every 0": "--keep: ", "--keep -1": "--keep: -1", "--sample-every -1": "--sample-every: -1",
		"--sample-prompts=": "--sample-every: needs", "--sample-tokens 0": "--sample-tokens: 0",
		"--log x --no-log": "--log and --no-log",
	} {
		if _, stderr := want(t, cli.ExitUsage, append(watchedRun(t, out), strings.Fields(flags)...)...); !strings.Contains(
			stderr, message) {
			t.Errorf("%s: %s", flags, stderr)
		}
	}
}

// TestSamplePrompts says what is wrong with a file of prompts, and where.
func TestSamplePrompts(t *testing.T) {
	for text, message := range map[string]string{
		"":                             "has 0 prompts",
		"{\"prompt\": \"a\"}\n{}\n":    ":2: no \"prompt\"",
		"{\"prompt\": \"a\"}\nthe sea": ":2: ",
	} {
		out := filepath.Join(t.TempDir(), "out.safetensors")
		_, stderr := want(t, cli.ExitError, watchedRun(t, out, "--sample-prompts",
			writeFile(t, "p.jsonl", []byte(text)))...)
		if !strings.Contains(stderr, "--sample-prompts: ") || !strings.Contains(stderr, message) {
			t.Errorf("%q: %s", text, stderr)
		}
		empty(t, filepath.Dir(out))
	}
}

// TestTrainLive watches a run by its page, presses the buttons, stops it, and wants the bytes of a run without a page.
// On a busy machine the run may be over before it is stopped: a longer one follows.
func TestTrainLive(t *testing.T) {
	steps, out := 200, filepath.Join(t.TempDir(), "out.safetensors")
	args := watchedRun(t, out, "--save-every", "0", "--keep", "0", "--eval-every", "50", "--force")
	args = append(args, "--steps", fmt.Sprint(steps))
	for ; ; steps *= 5 {
		args[len(args)-1] = fmt.Sprint(steps)
		status, over, text := stopLive(t, append(args, "--live")...)
		if status == cli.ExitInterrupted && strings.Contains(over, `"state":"stopped"`) {
			break
		}
		if status != cli.ExitOK || steps > 10000 {
			t.Fatalf("status %d, the page ends with %q\n%s", status, over, text)
		}
	}
	want(t, cli.ExitOK, append(args, "--resume", train.CheckpointPath(out), "--live=0")...)
	plain := filepath.Join(t.TempDir(), "out.safetensors")
	want(t, cli.ExitOK, append(args, "--out", plain)...)
	same(t, plain, out)
	log, err := runlog.Open(runlog.Path(out))
	asked := 0
	for _, s := range log.Samples {
		if s.Number < 0 {
			asked++
		}
	}
	if err != nil || len(log.Steps) != steps || asked != 1 || len(log.Starts) != 2 {
		t.Errorf("%d steps, %d samples asked for, %v", len(log.Steps), asked, err)
	}
	for flags, message := range map[string]string{"--live=0.0.0.0:0": "other machines could connect",
		"--live=example.com:1": "expected an IP address"} {
		if _, stderr := want(t, cli.ExitError, append(args, "--force", flags)...); !strings.Contains(stderr, message) {
			t.Errorf("%s: %s", flags, stderr)
		}
	}
	if _, stderr := want(t, cli.ExitUsage, append(args, "--live-remote")...); !strings.Contains(stderr, "needs --live") {
		t.Error(stderr)
	}
}

// stopLive presses the buttons of the page of a run, the last one when the text that it asked for is there. It gives
// the exit status, how the page ends, and what the run said.
func stopLive(t *testing.T, args ...string) (status int, over, said string) {
	t.Helper()
	errs, stderr := io.Pipe()
	cmd := process(t, stderr, args...)
	var text bytes.Buffer
	lines := bufio.NewScanner(io.TeeReader(errs, &text))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		stderr.Close()
	}()
	page := ""
	for page == "" && lines.Scan() {
		page, _ = strings.CutPrefix(lines.Text(), "page     ")
		if page == lines.Text() {
			page = ""
		}
	}
	if !strings.HasPrefix(page, "http://127.0.0.1:") {
		t.Fatalf("no page in\n%s", text.String())
	}
	go func() {
		io.Copy(io.Discard, io.TeeReader(errs, &text))
		close(ended)
	}()
	press := func(what, body string) {
		answer, err := http.Post(page+what, "application/json", strings.NewReader(body))
		if err != nil { // the run is over
			return
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusAccepted {
			t.Errorf("%s: %v", what, answer.Status)
		}
	}
	press("evaluate", "{}")
	press("sample", `{"prompt": "the rain"}`)
	if answer, err := http.Get(page + "events"); err == nil {
		defer answer.Body.Close()
		events := bufio.NewScanner(answer.Body)
		events.Buffer(nil, 1<<20)
		stopped := false
		for events.Scan() {
			line := events.Text()
			if !stopped && strings.Contains(line, `"prompt":"the rain"`) {
				stopped = true
				press("stop", "{}")
			}
			if strings.HasPrefix(line, `data: {"state"`) {
				over = line
			}
		}
	}
	<-ended
	return cmd.ProcessState.ExitCode(), over, text.String()
}
