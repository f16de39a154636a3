package generate

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/memory"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/peft"
)

// RunEach gives n answers to a prompt, which is read once. Number i is the one that Run gives with the seed opt.Seed+i.
// A token of all answers is computed in one pass over the weights.
func RunEach(ctx context.Context, b *peft.Base, adapters []peft.Scaled, prompt string, n int,
	opt Options) (_ []*Result, err error) {
	defer mapped.Guard(&err)()
	base, scaled := handle.Base(b), handle.Scaled(adapters)
	if n < 1 {
		return nil, fmt.Errorf("generate: %d answers, expected 1 or more", n)
	}
	ids, err := promptIDs(base, scaled, prompt)
	if err != nil {
		return nil, err
	}
	return runEach(ctx, base, scaled, ids, n, opt, nil)
}

// runEach makes n answers to a prompt; emit, which may be nil, gets the text of the first.
func runEach(ctx context.Context, b *attach.Base, adapters []attach.Scaled, ids []int32, n int, opt Options,
	emit func(piece string)) (_ []*Result, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("generate: %w", err)
		}
	}()
	hooks, err := attach.BindAll(b, adapters)
	if err != nil {
		return nil, err
	}
	g, err := newGroup(b, hooks, ids, n, opt, emit)
	if err != nil {
		return nil, err
	}
	logits, err := g.answers[0].session.Append(attach.Expanded(hooks, ids), g.hooks)
	if err != nil {
		return nil, err
	}
	first := slices.Clone(logits)
	for _, a := range g.answers[1:] {
		a.session = g.answers[0].session.Fork()
	}
	if err := g.run(ctx, first); err != nil {
		return nil, err
	}
	var found []*Result
	for _, a := range g.answers {
		found = append(found, a.result)
	}
	return found, nil
}

// group is several answers to one prompt.
type group struct {
	hooks   model.Hooks
	answers []*generator
}

// newGroup prepares n answers. Only the first has a session yet.
func newGroup(b *attach.Base, hooks attach.Stack, ids []int32, n int, opt Options, emit func(string)) (*group, error) {
	if opt.N == 0 {
		opt.N = 128
	}
	limit, err := contextOf(b, hooks, opt.Context)
	if err != nil {
		return nil, err
	}
	prompt := len(ids)
	if prompt >= limit {
		return nil, errkind.Errorf(ErrPromptTooLong, "the prompt has %d tokens, the context only %d", prompt, limit)
	}
	kind, err := opt.cacheType(b)
	if err != nil {
		return nil, err
	}
	size := min(limit, prompt+opt.N) + hooks.VirtualTokens()
	what := fmt.Sprintf("a context of %d tokens", size)
	if n > 1 {
		what = fmt.Sprintf("%d contexts of %d tokens", n, size)
	}
	needed := int64(n)*b.Model.SessionBytes(kind, size) + b.Model.ForwardBytes(max(prompt, n))
	if err := memory.Check(what, needed); err != nil {
		return nil, err
	}
	g := &group{hooks: hooks}
	if !opt.ExactActivations {
		g.hooks = model.RuntimeActivations{Hooks: hooks}
	}
	for i := range n {
		say := func(string) {}
		if emit != nil && i == 0 {
			say = emit
		}
		a := &generator{
			tok: b.Tokenizer, opt: opt, sampler: newSampler(opt), text: stopper{stops: opt.Stop, emit: say},
			stream: b.Tokenizer.NewStream(), result: &Result{PromptTokens: prompt},
		}
		a.sampler.seen = append(a.sampler.seen, ids...)
		g.answers = append(g.answers, a)
		opt.Seed++
	}
	g.answers[0].session = b.Model.NewSessionOf(kind, size)
	return g, nil
}

// cacheType is the type in which keys and values are kept.
func (opt *Options) cacheType(b *attach.Base) (gguf.Type, error) {
	if opt.Cache == "" {
		return gguf.F32, nil
	}
	kind, ok := model.CacheTypes[opt.Cache]
	if !ok {
		return 0, fmt.Errorf("keys and values in %q: expected %s, %s or %s", opt.Cache, CacheF32, CacheF16, CacheQ8_0)
	}
	return kind, b.Model.CheckCache(kind)
}

// run generates until something has ended every answer. logits are those after the prompt.
func (g *group) run(ctx context.Context, logits []float32) error {
	start := time.Now()
	going, each := g.answers, make([][]float32, len(g.answers))
	for i := range each {
		each[i] = logits
	}
	for len(going) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		var next []*generator
		var sessions []*model.Session
		var ids []int32
		for i, a := range going {
			id, goesOn, err := a.take(each[i])
			switch {
			case err != nil:
				return err
			case !goesOn:
				a.finish(time.Since(start).Seconds())
				continue
			}
			next, sessions, ids = append(next, a), append(sessions, a.session), append(ids, id)
		}
		var err error
		if each, err = model.AppendEach(sessions, ids, g.hooks); err != nil {
			return err
		}
		going = next
	}
	return nil
}
