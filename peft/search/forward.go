package search

import (
	"context"
	"slices"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/evaluate"
	"github.com/peftconv/peftconv/internal/model"
)

// sharedTokens is how long a common beginning must be to go through the model separately.
const sharedTokens = 16

// execute puts runs through the model and fills in their results.
func (s *promptScorer) execute(ctx context.Context, runs []*promptRun) error {
	n := s.shared(runs)
	if n == 0 {
		return s.inPieces(ctx, runs, 0, model.NoHooks{})
	}
	session := s.base.Model.NewSession(n)
	if _, err := session.Append(runs[0].ids[:n], model.NoHooks{}); err != nil {
		return err
	}
	hooks := &sharedHooks{}
	for layer := range s.base.Model.Layers {
		keys, values := session.Cache(layer)
		hooks.keys = append(hooks.keys, autograd.NewConst(n, len(keys)/n, keys))
		hooks.values = append(hooks.values, autograd.NewConst(n, len(values)/n, values))
	}
	return s.inPieces(ctx, runs, n, hooks)
}

// shared is the number of tokens that all runs begin with and of which none needs a result; 0 where sharing is not
// worthwhile. One token at least is left of each.
func (s *promptScorer) shared(runs []*promptRun) int {
	if len(runs) < 2 || s.adapters != nil {
		return 0
	}
	first := runs[0]
	n := len(first.ids)
	for _, run := range runs {
		n = min(n, len(run.ids)-1)
		for i := range n {
			if run.ids[i] != first.ids[i] || run.loss[i] {
				n = i
				break
			}
		}
		if n > 0 && run.loss[n] { // the last shared token would have to predict it
			n--
		}
	}
	if n < sharedTokens {
		return 0
	}
	return n
}

// sharedHooks put the keys and values of the tokens that all sequences begin with before each.
type sharedHooks struct {
	model.NoHooks
	keys, values []*autograd.Tensor // a layer each
}

// Prefix implements model.Hooks.
func (h *sharedHooks) Prefix(_ *autograd.Tape, l *model.Layer) (keys, values *autograd.Tensor) {
	return h.keys[l.Index], h.values[l.Index]
}

// inPieces puts runs without their first n tokens, which the hooks hold, through the model, as many at a time as
// fit.
func (s *promptScorer) inPieces(ctx context.Context, runs []*promptRun, n int, hooks model.Hooks) error {
	for len(runs) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		count, tokens := 1, len(runs[0].ids)
		for count < len(runs) && tokens+len(runs[count].ids) <= s.room(n) {
			tokens += len(runs[count].ids)
			count++
		}
		s.pass(runs[:count], n, hooks)
		runs = runs[count:]
	}
	return nil
}

// room is how many tokens may go through the model at once; of shared ones only attention keeps copies.
func (s *promptScorer) room(shared int) int {
	if shared > 0 {
		return 4 * s.batchTokens
	}
	return s.batchTokens
}

// pass puts runs through the model at once.
func (s *promptScorer) pass(runs []*promptRun, n int, hooks model.Hooks) {
	var packed batch.Batch
	for _, run := range runs {
		packed.Append(run.ids[n:], run.loss[n:])
	}
	var losses []float32
	if s.adapters != nil {
		losses = evaluate.Forward(s.base, s.adapters, s.adapters, &packed, s.tape)
	} else {
		packed.Shift(n)
		losses = s.plainPass(&packed, runs, hooks)
	}
	for _, run := range runs {
		targets := 0
		for _, wanted := range run.loss[n+1:] {
			if wanted {
				targets++
			}
		}
		run.losses, losses = slices.Clone(losses[:targets]), losses[targets:]
	}
}

// plainPass is pass without adapters: the losses of all targets, and the logits that runs need.
func (s *promptScorer) plainPass(packed *batch.Batch, runs []*promptRun, hooks model.Hooks) (losses []float32) {
	m, t := s.base.Model, s.tape
	t.Record(false)
	t.Reset(0)
	x := m.Hidden(t, packed, hooks)
	if packed.TargetCount() > 0 {
		losses = t.CrossEntropy(x, &m.Head, nil, packed.Targets, 1, m.LogitForm(nil))
	}
	if !runs[0].last {
		return losses
	}
	rows := make([]int, len(runs))
	for i := range runs {
		rows[i] = int(packed.Bounds[i+1]) - 1
	}
	logits := t.ApplyLogits(t.Linear(pickRows(t, x, rows), s.head), m.LogitForm(s.wordRows()))
	for i, run := range runs {
		run.logits = slices.Clone(logits.Row(i))
	}
	return losses
}

// pickRows copies rows of x, through which no gradient flows.
func pickRows(t *autograd.Tape, x *autograd.Tensor, rows []int) *autograd.Tensor {
	picked := t.Tensor(len(rows), x.Cols)
	for i, row := range rows {
		copy(picked.Row(i), x.Row(row))
	}
	return picked
}
