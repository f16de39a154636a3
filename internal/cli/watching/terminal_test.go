package watching

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/peft/train"
)

// TestTerminal prints a run to what is no terminal.
func TestTerminal(t *testing.T) {
	var out bytes.Buffer
	w := newTerminal(&out, false)
	base, accuracy := 3.0, 0.5
	w.Begin(train.Start{Steps: 9, BaseLoss: &base, Chosen: train.Chosen{Precision: "f32", Reason: "asked for"}})
	w.Evaluated(train.Evaluation{Loss: 3, Base: true})
	w.Step(train.Progress{Step: 1, Steps: 9, Loss: 2, LR: 0.001, TokensPerSecond: 1234})
	w.Evaluated(train.Evaluation{Step: 1, Loss: 2.5, Best: true})
	w.Evaluated(train.Evaluation{Step: 2, Loss: 2.75, Asked: true})
	w.Evaluated(train.Evaluation{Step: 2, Loss: 2.625, Accuracy: &accuracy})
	w.Sampled(train.Sample{Step: 2, Prompt: "a\x1b[2J", Text: "b\nc"})
	w.Sampled(train.Sample{Prompt: "a", Error: "no room", Base: true})
	w.stop()
	lines := strings.Split(out.String(), "\n")
	if !strings.HasPrefix(lines[1], "step 1/9  loss 2.0000  rate 0.001  1,234 tokens/s  ") {
		t.Errorf("a step is %q", lines[1])
	}
	lines[1] = "step"
	want := `precision f32: asked for
step
step 1: loss on the evaluation data 2.5000 ▼ 0.5000 (the best)
step 2: loss on the evaluation data 2.7500 ▲ 0.2500 (asked for)
step 2: loss on the evaluation data 2.6250 ▲ 0.1250, accuracy 50.00 %
step 2: a\x1b[2J ⟶ b\nc
the base: a ⟶ no answer: no room
`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("printed\n%s\nwant\n%s", got, want)
	}
	if got := (&terminal{colour: true}).change(-1); got != "\x1b[32m▼ 1.0000\x1b[0m" {
		t.Errorf("in colour: %q", got)
	}
}

// TestSmoothed: the average of equal values is that value from the first on, and follows a change by a tenth a step.
func TestSmoothed(t *testing.T) {
	var s smoothed
	for range 200 {
		if got := s.add(2); math.Abs(got-2) > 1e-12 {
			t.Fatalf("%v", got)
		}
	}
	if got := s.add(3); math.Abs(got-2.1) > 1e-6 {
		t.Errorf("%v", got)
	}
}
