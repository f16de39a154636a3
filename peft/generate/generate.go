package generate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/memory"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/tokenizer"
	"github.com/peftconv/peftconv/peft"
)

// ErrPromptTooLong is the kind of the error of a prompt that leaves no room in the context (Options.Context).
var ErrPromptTooLong = errors.New("the prompt is longer than the context")

// Options says how Run chooses tokens. The zero value takes the likeliest token 128 times.
type Options struct {
	N           int     // the most tokens to generate; 0: 128
	Temperature float64 // 0: always the likeliest token
	TopK        int     // > 0: only the TopK likeliest
	TopP        float64 // 0 < TopP < 1: only the likeliest that together have this probability
	MinP        float64 // > 0: only those at least this share as likely as the likeliest
	// RepeatPenalty above 1 makes tokens less likely that are among the last RepeatLast of prompt and answer, as
	// llama.cpp's penalty does; 0 and 1: none.
	RepeatPenalty float64
	RepeatLast    int      // 0: 64
	Stop          []string // texts that end the answer, and are no part of it
	Seed          uint64
	// the most tokens of prompt and answer together, without virtual ones; 0: what the model was made for
	Context   int
	IgnoreEOG bool // continue after a token that ends an answer
	// ExactActivations multiplies quantized weights with activations as they are. Otherwise activations are rounded as
	// llama.cpp's CPU backend rounds them, which is faster.
	ExactActivations bool
}

// Result is what Run made.
type Result struct {
	Text            string  `json:"text"`
	IDs             []int32 `json:"ids"`
	PromptTokens    int     `json:"prompt_tokens"`
	Tokens          int     `json:"tokens"`
	TokensPerSecond float64 `json:"tokens_per_second"` // of the generation, without the prompt
	Stop            string  `json:"stop"`              // "eog", "stop" (one of Options.Stop), "length" or "context"
}

// Run continues a prompt, with adapters. Special tokens written out in the prompt count as such, and BOS is put in
// front where the vocabulary says so. emit, which may be nil, gets the text as it is generated, in whole characters.
func Run(ctx context.Context, b *peft.Base, adapters []peft.Scaled, prompt string, opt Options,
	emit func(piece string)) (*Result, error) {
	return run(ctx, handle.Base(b), handle.Scaled(adapters), prompt, opt, emit)
}

// run is Run on what the arguments hold.
func run(ctx context.Context, b *attach.Base, adapters []attach.Scaled, prompt string, opt Options,
	emit func(piece string)) (*Result, error) {
	if b.Tokenizer == nil {
		return nil, fmt.Errorf("generate: %s has no tokenizer", b.Path)
	}
	ids, err := adaptedPrompt(b, adapters, prompt)
	if err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	return runIDs(ctx, b, adapters, ids, opt, emit)
}

// runIDs continues tokens.
func runIDs(ctx context.Context, b *attach.Base, adapters []attach.Scaled, ids []int32, opt Options,
	emit func(piece string)) (*Result, error) {
	hooks, err := attach.BindAll(b, adapters)
	if err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	g, err := newGenerator(b, hooks, len(ids), opt, emit)
	if err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	g.sampler.seen = append(g.sampler.seen, ids...)
	if err := g.run(ctx, attach.Expanded(hooks, ids)); err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	return g.result, nil
}

// adaptedPrompt are the tokens of a prompt in the template of an adapter, or as it is where none has one.
func adaptedPrompt(b *attach.Base, adapters []attach.Scaled, prompt string) ([]int32, error) {
	for _, scaled := range adapters {
		if scaled.Adapter.Heads() > 0 {
			return nil, attach.ErrClassifier
		}
	}
	for _, scaled := range adapters {
		if scaled.Adapter.Config.Template != "" {
			return scaled.Adapter.Templated(b, prompt)
		}
	}
	ids := attach.PromptIDs(b.Tokenizer, prompt)
	if len(ids) == 0 {
		return nil, errors.New("the prompt is empty")
	}
	return ids, nil
}

// generator is one answer being made.
type generator struct {
	tok     *tokenizer.Tokenizer
	hooks   model.Hooks
	session *model.Session
	sampler sampler
	opt     Options
	emit    func(string)
	result  *Result
}

func newGenerator(b *attach.Base, hooks attach.Stack, prompt int, opt Options, emit func(string)) (*generator, error) {
	if opt.N == 0 {
		opt.N = 128
	}
	limit, err := contextOf(b, hooks, opt.Context)
	if err != nil {
		return nil, err
	}
	if prompt >= limit {
		return nil, errkind.Errorf(ErrPromptTooLong, "the prompt has %d tokens, the context only %d", prompt, limit)
	}
	if emit == nil {
		emit = func(string) {}
	}
	size := min(limit, prompt+opt.N) + hooks.VirtualTokens()
	what := fmt.Sprintf("a context of %d tokens", size)
	if err := memory.Check(what, b.Model.SessionBytes(size)+b.Model.ForwardBytes(prompt)); err != nil {
		return nil, err
	}
	var at model.Hooks = hooks
	if !opt.ExactActivations {
		at = model.RuntimeActivations{Hooks: hooks}
	}
	return &generator{
		tok: b.Tokenizer, hooks: at, session: b.Model.NewSession(size), opt: opt, emit: emit,
		sampler: newSampler(opt), result: &Result{PromptTokens: prompt},
	}, nil
}

// contextOf is the most tokens of prompt and answer where so many are asked for, or 0. Virtual tokens take some of the
// positions that a model has embeddings of.
func contextOf(b *attach.Base, hooks attach.Stack, asked int) (int, error) {
	positions, virtual := b.Model.Positions(), hooks.VirtualTokens()
	switch {
	case positions > 0 && asked > positions-virtual:
		return 0, fmt.Errorf("a context of %d tokens after %d virtual ones, but %s has embeddings of %d positions", asked,
			virtual, b.Path, positions)
	case asked > 0:
		return asked, nil
	case positions > 0:
		return min(b.Model.Spec.Context, positions-virtual), nil
	}
	return b.Model.Spec.Context, nil
}

// run reads the prompt and generates until something ends it.
func (g *generator) run(ctx context.Context, ids []int32) error {
	logits, err := g.session.Append(ids, g.hooks)
	if err != nil {
		return err
	}
	text := stopper{stops: g.opt.Stop, emit: g.emit}
	start, stream := time.Now(), g.tok.NewStream()
	for g.result.Stop == "" {
		if err := ctx.Err(); err != nil {
			return err
		}
		id, err := g.sampler.next(logits)
		if err != nil {
			return err
		}
		if g.tok.IsEOG(id) && !g.opt.IgnoreEOG {
			g.result.Stop = "eog"
			break
		}
		g.result.IDs = append(g.result.IDs, id)
		g.sampler.seen = append(g.sampler.seen, id)
		if text.say(stream.Next(id)) {
			g.result.Stop = "stop"
			break
		}
		if logits, err = g.advance(id); err != nil {
			return err
		}
	}
	if g.result.Stop != "stop" {
		text.say(stream.Flush())
		text.flush()
	}
	g.result.Text, g.result.Tokens = text.said.String(), len(g.result.IDs)
	if spent := time.Since(start).Seconds(); spent > 0 {
		g.result.TokensPerSecond = float64(g.result.Tokens) / spent
	}
	return nil
}

// advance reads a generated token, unless it was the last one there is room or need for.
func (g *generator) advance(id int32) ([]float32, error) {
	switch {
	case len(g.result.IDs) == g.opt.N:
		g.result.Stop = "length"
	case g.session.Room() == 0:
		g.result.Stop = "context"
	default:
		return g.session.Append([]int32{id}, g.hooks)
	}
	return nil, nil
}
