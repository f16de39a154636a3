package model_test

import (
	"testing"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
)

// TestActivationBytes compares what is said of the insides of layers with what a tape that keeps them takes.
func TestActivationBytes(t *testing.T) {
	const tokens, passes = 512, 12 // on one tape, whose memory comes in large pieces
	b := &batch.Batch{}
	for b.Tokens() < tokens {
		b.Append(sequence(64, b.Tokens()), nil)
	}
	for _, c := range someArchs() {
		t.Run(c.Name, func(t *testing.T) {
			m, _ := example(t, func(path string) { c.Write(t, path) })
			tape := autograd.NewTape()
			tape.Keep(true)
			hooks := newTrainAll(m)
			for range passes {
				m.Hidden(tape, b, hooks)
			}
			around := float64(3 * tokens * m.Spec.Width * 4) // before the first layer and after the last
			took, said := float64(tape.Bytes())/passes-around, float64(m.ActivationBytes(tokens))
			t.Logf("%.1f MB of %.1f", said/1e6, took/1e6)
			if said < 0.85*took || said > 1.15*took {
				t.Errorf("%.1f MB were taken, and %.1f expected", took/1e6, said/1e6)
			}
		})
	}
}
