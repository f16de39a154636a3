package train

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

// TestTry wants the steps, parameters, memory and first loss of the run itself, and no files.
func TestTry(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	data, dir := pefttest.TinyData(24, 1), t.TempDir()
	opt := plain(Options{Epochs: 2, BatchTokens: 64, Accumulate: 2, SaveEvery: 1,
		Out: filepath.Join(dir, "out.safetensors")})
	var seen events
	a, err := methods.NewLoRA(b, method.LoRA{Rank: 2})
	if err != nil {
		t.Fatal(err)
	}
	trial, err := try(t.Context(), b, a, data, opt)
	if err != nil {
		t.Fatal(err)
	}
	if files, _ := os.ReadDir(dir); len(files) > 0 {
		t.Errorf("a try wrote %v", files)
	}
	if a, err = methods.NewLoRA(b, method.LoRA{Rank: 2}); err != nil {
		t.Fatal(err)
	}
	run := opt
	run.Out, run.SaveEvery = "", 0
	var losses []float64
	run.Observer = Observers{&seen, OnStep(func(p Progress) { losses = append(losses, p.Loss) })}
	if _, err := trainAdapter(t.Context(), b, a, data, nil, run); err != nil {
		t.Fatal(err)
	}
	if trial.Steps != len(losses) || trial.Loss != losses[0] || trial.Parameters != seen.start.Parameters ||
		trial.Memory != seen.start.Memory.Total() || trial.Targets != data.Targets() {
		t.Errorf("tried %+v, but the run had %d steps, first loss %v, %+v", trial, len(losses), losses[0], seen.start)
	}
	if !(trial.StepSeconds > 0) || !(trial.Seconds > 0) || trial.StepTokens < 1 {
		t.Errorf("times %+v", trial)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := try(cancelled, b, a, data, opt); err == nil {
		t.Error("a cancelled try ends without an error")
	}
}
