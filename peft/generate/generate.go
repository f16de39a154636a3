package generate

import (
	"context"
	"errors"
	"fmt"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/mapped"
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
	// Cache is how keys and values are kept: CacheF32 (or ""), CacheF16 or CacheQ8_0. The two others take half and a
	// quarter of the memory, and round them.
	Cache string
}

// How keys and values can be kept.
const (
	CacheF32  = "f32"
	CacheF16  = "f16"
	CacheQ8_0 = "q8_0"
)

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
	emit func(piece string)) (_ *Result, err error) {
	defer mapped.Guard(&err)()
	return run(ctx, handle.Base(b), handle.Scaled(adapters), prompt, opt, emit)
}

// run is Run on what the arguments hold.
func run(ctx context.Context, b *attach.Base, adapters []attach.Scaled, prompt string, opt Options,
	emit func(piece string)) (*Result, error) {
	ids, err := promptIDs(b, adapters, prompt)
	if err != nil {
		return nil, err
	}
	return runIDs(ctx, b, adapters, ids, opt, emit)
}

// promptIDs are the tokens of a prompt.
func promptIDs(b *attach.Base, adapters []attach.Scaled, prompt string) ([]int32, error) {
	if b.Tokenizer == nil {
		return nil, fmt.Errorf("generate: %s has no tokenizer", b.Path)
	}
	ids, err := adaptedPrompt(b, adapters, prompt)
	if err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	return ids, nil
}

// runIDs continues tokens.
func runIDs(ctx context.Context, b *attach.Base, adapters []attach.Scaled, ids []int32, opt Options,
	emit func(piece string)) (*Result, error) {
	found, err := runEach(ctx, b, adapters, ids, 1, opt, emit)
	if err != nil {
		return nil, err
	}
	return found[0], nil
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
	session *model.Session
	sampler sampler
	opt     Options
	text    stopper
	stream  *tokenizer.Stream
	result  *Result
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

// take chooses the next token by the logits, and reports whether the session has to read it: something may end the
// answer, or there may be no room.
func (g *generator) take(logits []float32) (id int32, goesOn bool, err error) {
	if id, err = g.sampler.next(logits); err != nil {
		return 0, false, err
	}
	if g.tok.IsEOG(id) && !g.opt.IgnoreEOG {
		g.result.Stop = "eog"
		return 0, false, nil
	}
	g.result.IDs = append(g.result.IDs, id)
	g.sampler.seen = append(g.sampler.seen, id)
	switch {
	case g.text.say(g.stream.Next(id)):
		g.result.Stop = "stop"
	case len(g.result.IDs) == g.opt.N:
		g.result.Stop = "length"
	case g.session.Room() == 0:
		g.result.Stop = "context"
	}
	return id, g.result.Stop == "", nil
}

// finish completes the result of an answer that took so many seconds.
func (g *generator) finish(spent float64) {
	if g.result.Stop != "stop" {
		g.text.say(g.stream.Flush())
		g.text.flush()
	}
	g.result.Text, g.result.Tokens = g.text.said.String(), len(g.result.IDs)
	if spent > 0 {
		g.result.TokensPerSecond = float64(g.result.Tokens) / spent
	}
}
