package watching

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/live"
	"github.com/peftconv/peftconv/internal/preview"
	"github.com/peftconv/peftconv/peft/train"
)

// anyPort is --live without an address.
const anyPort = "127.0.0.1:0"

// serve begins to serve the page of a run.
func (f *Flags) serve(r *Run, w *Watch) error {
	examples, err := examplesOf(preview.Of(r.Base, r.Data))
	if err != nil {
		return err
	}
	o := r.Options
	o.Control = new(train.Control)
	controls := live.Controls{Stop: o.Control.Stop}
	if r.Held != nil {
		controls.Evaluate = o.Control.Evaluate
	}
	if o.Samples != nil {
		controls.Sample = o.Control.Sample
	}
	w.page, err = live.Listen(live.Options{
		Address: f.live, Remote: f.liveRemote, Controls: controls, Examples: examples,
	})
	return err
}

// How much of the data the page shows: so many examples, spread over all, and so many bytes of each.
const (
	mostExamples = 60
	mostText     = 8 << 10
)

// examplesOf are some examples of the data. They are read before the run, which reads the data while it trains.
func examplesOf(all *preview.Examples) ([]live.Example, error) {
	n := min(all.Len(), mostExamples)
	out := make([]live.Example, 0, n)
	for i := range n {
		at := i * all.Len() / n
		e, err := all.At(at)
		if err != nil {
			return nil, err
		}
		one := live.Example{Number: at + 1, Tokens: *e.Tokens, Learned: *e.Learned}
		room := mostText
		for _, s := range e.Segments {
			if len(s.Text) > room {
				for room > 0 && !utf8.RuneStart(s.Text[room]) {
					room--
				}
				s.Text, one.Cut = s.Text[:room], true
			}
			room -= len(s.Text)
			one.Segments = append(one.Segments, live.Segment(s))
			if one.Cut {
				break
			}
		}
		out = append(out, one)
	}
	return out, nil
}

// ending is what the page says of a run that has returned.
func ending(err error) (state, text string) {
	var stop *train.Interrupted
	switch {
	case err == nil:
		return "finished", "finished: the adapter is written"
	case errors.As(err, &stop) && stop.Checkpoint != "":
		return "stopped", fmt.Sprintf("stopped after step %d of %d; the checkpoint is written", stop.Step, stop.Steps)
	case errors.Is(err, context.Canceled):
		return "stopped", "interrupted"
	}
	return "failed", cli.ErrorText(err)
}
