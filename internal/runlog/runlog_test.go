package runlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/peftconv/peftconv/peft/train"
)

// clock counts seconds.
func clock() func() time.Time {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return func() time.Time { now = now.Add(time.Second); return now }
}

// record records steps from one to another, with an evaluation and a sample every second step and a checkpoint every
// fourth.
func record(r *Recorder, from, to int) {
	for step := from; step <= to; step++ {
		r.Step(train.Progress{Step: step, Steps: 10, Loss: 3 - float64(step)/10, StepTokens: 50, Targets: 40,
			Tokens: int64(50 * step), RSS: 1 << 20, Seconds: 0.25, GradNorm: 0.5})
		if step%2 == 0 {
			r.Evaluated(train.Evaluation{Step: step, Loss: 2, Seconds: 1, Best: step == 2})
			r.Sampled(train.Sample{Step: step, Prompt: "<a>", Text: "b\nc"})
		}
		if step%4 == 0 {
			r.Checkpoint("/somewhere/x.checkpoint.safetensors", step)
		}
	}
}

// TestLog writes a log and reads it back.
func TestLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log.jsonl")
	var shown []string
	r := &Recorder{File: &File{Path: path}, About: About{Base: "b.gguf", Seed: 7}, Now: clock(),
		Lines: []func([]byte){func(line []byte) { shown = append(shown, string(line)) }}}
	r.Begin(train.Start{Steps: 10, LR: 0.1, Chosen: train.Chosen{Precision: "f32"}})
	r.Evaluated(train.Evaluation{Loss: 5, Base: true})
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("before the first step there is a file: %v", err)
	}
	record(r, 1, 10)
	loss := 1.5
	r.End(&train.Result{Steps: 10, EvalLoss: &loss})
	text, err := os.ReadFile(path)
	if err != nil || string(text) != strings.Join(shown, "\n")+"\n" {
		t.Fatalf("%v, the file has\n%s\nand shown was\n%s", err, text, strings.Join(shown, "\n"))
	}
	const third = `{"kind":"step","step":1,"time":"2026-01-02T03:04:08Z","epoch":0,"loss":2.9,"lr":0,"grad_norm":0.5,` +
		`"tokens":50,"tokens_with_loss":40,"tokens_seen":50,"seconds":0.25,"memory":1048576}`
	if shown[2] != third {
		t.Errorf("a step is\n%s\nwant\n%s", shown[2], third)
	}
	log, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(log.Starts) != 1 || len(log.Steps) != 10 || len(log.Evaluations) != 6 || len(log.Samples) != 5 ||
		len(log.Checkpoints) != 2 || log.End == nil {
		t.Fatalf("%+v", log)
	}
	if s := log.Starts[0]; s.Base != "b.gguf" || s.Seed != 7 || s.Steps != 10 || s.LR != 0.1 {
		t.Errorf("start %+v", s)
	}
	want := Sample{Line: Line{KindSample, 2, log.Samples[0].Time}, Prompt: "<a>", Text: "b\nc"}
	if log.Samples[0] != want || log.Checkpoints[1].File != "x.checkpoint.safetensors" || *log.End.EvalLoss != 1.5 ||
		!log.Evaluations[0].Base || log.Steps[9].Loss != 2 {
		t.Errorf("read back %+v", log)
	}
	if !IsLog(path) {
		t.Error("it is not known as a log")
	}
}

// TestResume cuts a log back to the checkpoint of step 6, within whose evaluation the run was stopped.
func TestResume(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole.log.jsonl")
	r := &Recorder{File: &File{Path: whole}, Now: clock()}
	r.Begin(train.Start{Steps: 10})
	record(r, 1, 10)
	text, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	for name, tail := range map[string]string{"whole": "", "killed within a line": `{"kind":"step","st`} {
		path := filepath.Join(t.TempDir(), "x.log.jsonl")
		if err := os.WriteFile(path, append(text, tail...), 0o644); err != nil {
			t.Fatal(err)
		}
		shown := 0
		r := &Recorder{File: &File{Path: path}, Now: clock(), Lines: []func([]byte){func([]byte) { shown++ }}}
		r.Begin(train.Start{Step: 6, Steps: 10, Evaluated: 4, Sampled: 6})
		r.Evaluated(train.Evaluation{Step: 6, Loss: 2, Seconds: 1})
		record(r, 7, 10)
		log, err := Open(path)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var steps, evaluations, samples []int
		for _, s := range log.Steps {
			steps = append(steps, s.Step)
		}
		for _, e := range log.Evaluations {
			evaluations = append(evaluations, e.Step)
		}
		for _, s := range log.Samples {
			samples = append(samples, s.Step)
		}
		got := fmt.Sprint(steps, evaluations, samples)
		if want := "[1 2 3 4 5 6 7 8 9 10] [2 4 6 8 10] [2 4 6 8 10]"; got != want || len(log.Starts) != 2 {
			t.Errorf("%s: %s, want %s; %d starts", name, got, want, len(log.Starts))
		}
		lines, _ := os.ReadFile(path)
		if n := strings.Count(string(lines), "\n"); n != shown {
			t.Errorf("%s: %d lines, %d shown", name, n, shown)
		}
	}
}

// TestMoved begins anew beside a log.
func TestMoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log.jsonl")
	for _, move := range []bool{true, true, false} {
		r := &Recorder{File: &File{Path: path, Move: move}}
		r.Begin(train.Start{Steps: 10})
		record(r, 1, 1)
		r.File.Close()
		_, err := Open(OldPath(path))
		if log, failed := Open(path); failed != nil || len(log.Steps) != 1 {
			t.Errorf("%+v, %v", log, failed)
		}
		if !move && err != nil {
			t.Error(err)
		}
	}
}

// TestTwoRuns has two runs write to one path at once, one of them through a link. What is there then is the log of the
// one that began to write last, and the link.
func TestTwoRuns(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "x.log.jsonl"), filepath.Join(dir, "link.jsonl")
	if runtime.GOOS == "windows" {
		t.Skip("a file that is open cannot be removed there")
	}
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	first := &Recorder{File: &File{Path: path}, About: About{Seed: 1}, Now: clock()}
	second := &Recorder{File: &File{Path: link}, About: About{Seed: 22222}, Now: clock()}
	first.Begin(train.Start{Steps: 10})
	record(first, 1, 3)
	second.Begin(train.Start{Steps: 10})
	for step := 1; step <= 10; step++ {
		record(second, step, step)
		record(first, step+3, step+3)
	}
	first.End(&train.Result{Steps: 13})
	second.End(&train.Result{Steps: 10})
	for _, path := range []string{path, link} {
		log, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(log.Starts) != 1 || log.Starts[0].Seed != 22222 || len(log.Steps) != 10 || log.End == nil ||
			log.End.Steps != 10 {
			t.Errorf("%s: %+v", path, log)
		}
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info, err)
	}
}

// TestFailed: a log that cannot be written is reported once, and lines are shown all the same.
func TestFailed(t *testing.T) {
	var told []error
	shown := 0
	r := &Recorder{
		File:  &File{Path: filepath.Join(t.TempDir(), "absent", "x"), Failed: func(err error) { told = append(told, err) }},
		Lines: []func([]byte){func([]byte) { shown++ }},
	}
	r.Begin(train.Start{Steps: 10})
	record(r, 1, 3)
	if len(told) != 1 || !errors.Is(told[0], os.ErrNotExist) || shown != 6 {
		t.Errorf("%v, %d lines shown", told, shown)
	}
}

// TestReadErrors names the line.
func TestReadErrors(t *testing.T) {
	const start = `{"kind":"start","step":0}` + "\n"
	for text, want := range map[string]string{
		start + "{\n":                               "line 2: expected a JSON object",
		start + start + `{"step":1}` + "\n":         `line 3: no "kind"`,
		start + `{"kind":"step","step":"x"}` + "\n": "line 2: ",
		start + `{"kind":"later","step":1}` + "\n":  "",
		start + `{"kind":"st`:                       "",
	} {
		log, err := Read(strings.NewReader(text))
		if want == "" && err == nil && len(log.Starts) == 1 {
			continue
		}
		if want == "" || err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestLengthsOf wants each example to be counted once, in ranges that are few and round.
func TestLengthsOf(t *testing.T) {
	for _, c := range []struct {
		sizes        []int
		step, ranges int
	}{
		{[]int{1, 2, 2, 3}, 1, 3}, {[]int{40, 41}, 2, 21}, {[]int{512, 512, 1, 0}, 20, 26}, {[]int{1_000_000}, 50_000, 20},
	} {
		l, n := LengthsOf(len(c.sizes), func(i int) int { return c.sizes[i] }), 0
		for i, count := range l.Counts {
			n += count
			for _, size := range c.sizes {
				if size > i*l.Step && size <= (i+1)*l.Step && count == 0 {
					t.Errorf("%v: %+v lacks %d", c.sizes, l, size)
				}
			}
		}
		if l.Step != c.step || len(l.Counts) != c.ranges || n != len(c.sizes) {
			t.Errorf("%v: %+v, want %d ranges of %d", c.sizes, l, c.ranges, c.step)
		}
	}
	if l := LengthsOf(0, nil); l != nil {
		t.Errorf("of nothing: %+v", l)
	}
}
