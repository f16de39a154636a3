package watching

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/peft/train"
)

// terminal prints a run: a bar of steps, and a line for each evaluation and sample.
type terminal struct {
	train.Ignore
	w      io.Writer
	colour bool
	meter  atomic.Pointer[cli.Meter] // nil before the run begins
	loss   smoothed
	held   *float64 // the loss on the evaluation data before
	of     string   // what that is
	steps  int
}

func newTerminal(w io.Writer, sample bool) *terminal {
	of := "the evaluation data"
	if sample {
		of = "a sample of the training data"
	}
	return &terminal{w: w, of: of,
		colour: cli.Terminal(w) != nil && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// smoothed is an exponential moving average that does not lean to its beginning.
type smoothed struct{ sum, weight float64 }

// smoothing is the share of what was before in the average.
const smoothing = 0.9

// add adds a value and gives the average.
func (s *smoothed) add(x float64) float64 {
	s.sum, s.weight = smoothing*s.sum+(1-smoothing)*x, smoothing*s.weight+1-smoothing
	return s.sum / s.weight
}

// Begin prints the precision.
func (t *terminal) Begin(s train.Start) {
	fmt.Fprintf(t.w, "precision %s: %s\n", s.Chosen.Precision, s.Chosen.Reason)
	t.held, t.steps = s.BaseLoss, s.Steps
	m := cli.NewMeter(t.w, "step")
	m.StartAt(int64(s.Step), int64(s.Steps))
	t.meter.Store(m)
}

// Step moves the bar.
func (t *terminal) Step(p train.Progress) {
	t.meter.Load().Update(int64(p.Step), int64(p.Steps), StepNote(p, t.loss.add(p.Loss)))
}

// StepNote is what is shown of a step beside its number. loss may be an average.
func StepNote(p train.Progress, loss float64) string {
	note := fmt.Sprintf("loss %.4f", loss)
	if p.RouterLoss > 0 {
		note += fmt.Sprintf("  routers %.4f", p.RouterLoss)
	}
	if p.RetainLoss > 0 {
		note += fmt.Sprintf("  retained %.4f", p.RetainLoss)
	}
	return fmt.Sprintf("%s  rate %.3g  %s tokens/s", note, p.LR, cli.CountText(int64(p.TokensPerSecond)))
}

// Evaluated prints a line, with the change since the evaluation before.
func (t *terminal) Evaluated(e train.Evaluation) {
	if e.Base || e.Step == t.steps && !e.Asked {
		return // it is in the result
	}
	line := fmt.Sprintf("step %d: loss on %s %.4f", e.Step, t.of, e.Loss)
	if t.held != nil {
		line += " " + t.change(e.Loss-*t.held)
	}
	if e.Accuracy != nil {
		line += fmt.Sprintf(", accuracy %.2f %%", 100**e.Accuracy)
	}
	switch {
	case e.Asked:
		line += " (asked for)"
	case e.Best:
		line += " (the best)"
	}
	if !e.Asked {
		t.held = &e.Loss
	}
	t.meter.Load().SayRaw(line)
}

// change is "▼ 0.1234": down is better.
func (t *terminal) change(by float64) string {
	sign, colour := "▼", "\x1b[32m"
	if by >= 0 {
		sign, colour = "▲", "\x1b[31m"
	} else {
		by = -by
	}
	if text := fmt.Sprintf("%s %.4f", sign, by); !t.colour {
		return text
	} else {
		return colour + text + "\x1b[0m"
	}
}

// sampleRunes is how much of a prompt and of an answer is printed.
const sampleRunes = 160

// Sampled prints a line.
func (t *terminal) Sampled(s train.Sample) {
	when := fmt.Sprintf("step %d", s.Step)
	if s.Base {
		when = "the base"
	}
	text := cli.Printable(s.Text, sampleRunes)
	if s.Error != "" {
		text = "no answer: " + cli.Line(s.Error)
	}
	t.say("%s: %s ⟶ %s", when, cli.Printable(s.Prompt, sampleRunes/4), text)
}

// say prints a line that stays above the bar.
func (t *terminal) say(format string, args ...any) {
	if m := t.meter.Load(); m != nil {
		m.Say(format, args...)
		return
	}
	fmt.Fprintf(t.w, format+"\n", args...)
}

// stop takes the bar away.
func (t *terminal) stop() { t.meter.Load().Stop() }
