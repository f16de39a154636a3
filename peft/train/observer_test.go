package train

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

// events is an Observer that records its calls.
type events struct {
	Ignore
	start       Start
	steps       []int
	checkpoints []int
	evaluations []Evaluation
	samples     []Sample
	result      *Result
}

func (n *events) Begin(s Start)                    { n.start = s }
func (n *events) Step(p Progress)                  { n.steps = append(n.steps, p.Step) }
func (n *events) Checkpoint(path string, step int) { n.checkpoints = append(n.checkpoints, step) }
func (n *events) Evaluated(e Evaluation)           { n.evaluations = append(n.evaluations, e) }
func (n *events) Sampled(s Sample)                 { n.samples = append(n.samples, s) }
func (n *events) End(r *Result)                    { n.result = r }

// TestObserver wants every step, checkpoint and the result reported to each of two observers, in order.
func TestObserver(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a, err := methods.NewLoRA(b, method.LoRA{Rank: 2})
	if err != nil {
		t.Fatal(err)
	}
	var first, second events
	opt := Options{Steps: 4, SaveEvery: 2, Out: filepath.Join(t.TempDir(), "out.safetensors"),
		Observer: Observers{&first, &second}}
	r, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), pefttest.TinyData(6, 2), plain(opt))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []*events{&first, &second} {
		if n.start.Steps != 4 || n.start.Parameters != a.Parameters() || n.start.BaseLoss == nil ||
			n.start.Memory.Total() == 0 {
			t.Errorf("the start is told as %+v", n.start)
		}
		if !slices.Equal(n.steps, []int{1, 2, 3, 4}) || !slices.Equal(n.checkpoints, []int{2}) || n.result != r {
			t.Errorf("steps %v, checkpoints %v, result %p of %p", n.steps, n.checkpoints, n.result, r)
		}
	}
}
