package demo

import (
	"context"
	"strings"

	"github.com/peftconv/peftconv/internal/demo/tale"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/eval"
	"github.com/peftconv/peftconv/peft/generate"
)

// Score is the quality of a model on the two tasks, on held-out data.
type Score struct {
	Loss       float64 // mean cross entropy of the completions' tokens
	Perplexity float64
	Owl        Count // sentences of the owl's tales that stand, word for word, in what the model tells
	Mood       Count // moods named rightly
}

// Count is right answers out of all.
type Count struct{ Right, All int }

// exam is the held-out data that a score is about.
type exam struct {
	eval      *peft.Data
	owl, mood []tale.Example
}

// Tales asked for; each takes about a hundred tokens to tell.
const owlAsked = 20

func newExam(eval *peft.Data) *exam {
	return &exam{eval, tale.OwlTask(evalSeed, owlEval, true)[:owlAsked], tale.MoodTask(evalSeed, moodEval, true)}
}

// shorten leaves a tenth.
func (e *exam) shorten() {
	short := *handle.Data(e.eval)
	short.Examples = short.Examples[:len(short.Examples)/10]
	e.eval, e.owl, e.mood = handle.OfData(&short).(*peft.Data), e.owl[:owlAsked/10], e.mood[:moodEval/10]
}

func (e *exam) score(ctx context.Context, b *peft.Base, adapters []peft.Scaled) (s Score, err error) {
	r, err := eval.Loss(ctx, b, adapters, e.eval, 0)
	if err != nil {
		return s, err
	}
	s.Loss, s.Perplexity = r.Loss, r.Perplexity
	if s.Owl, err = sentences(ctx, b, adapters, e.owl); err != nil {
		return s, err
	}
	s.Mood, err = exact(ctx, b, adapters, e.mood)
	return s, err
}

// exact counts the examples whose completion the model writes as it stands, greedily.
func exact(ctx context.Context, b *peft.Base, adapters []peft.Scaled, examples []tale.Example) (Count, error) {
	c := Count{All: len(examples)}
	for _, e := range examples {
		text, err := answer(ctx, b, adapters, e)
		if err != nil {
			return c, err
		}
		if text == strings.TrimSpace(e.Completion) {
			c.Right++
		}
	}
	return c, nil
}

// sentences counts the sentences of completions that the model writes too, greedily.
func sentences(ctx context.Context, b *peft.Base, adapters []peft.Scaled, examples []tale.Example) (Count, error) {
	var c Count
	for _, e := range examples {
		text, err := answer(ctx, b, adapters, e)
		if err != nil {
			return c, err
		}
		told := map[string]int{}
		for _, s := range split(text) {
			told[s]++
		}
		for _, s := range split(e.Completion) {
			if c.All++; told[s] > 0 {
				told[s]--
				c.Right++
			}
		}
	}
	return c, nil
}

// split is the sentences of a text.
func split(text string) []string {
	return strings.FieldsFunc(strings.NewReplacer(". ", ".|", "! ", "!|", "? ", "?|").Replace(strings.TrimSpace(text)),
		func(r rune) bool { return r == '|' })
}

// answer is what the model writes, greedily, to the prompt of an example.
func answer(ctx context.Context, b *peft.Base, adapters []peft.Scaled, e tale.Example) (string, error) {
	r, err := generate.Run(ctx, b, adapters, e.Prompt, generate.Options{N: 2 * len(strings.Fields(e.Completion))}, nil)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(r.Text), nil
}

// Sample is what the model wrote to one prompt before the training and after it.
type Sample struct {
	Prompt, Before, After, Expected string
}

// samples continues the same held-out prompts with the base and with the adapter.
func (d *demonstration) samples(trained []peft.Scaled) error {
	for _, e := range []tale.Example{tale.OwlTask(evalSeed, owlEval, true)[owlAsked],
		tale.MoodTask(evalSeed, moodEval, true)[1]} {
		s := Sample{Prompt: e.Prompt, Expected: e.Completion}
		for _, run := range []struct {
			adapters []peft.Scaled
			text     *string
		}{{nil, &s.Before}, {trained, &s.After}} {
			r, err := generate.Run(d.ctx, d.base, run.adapters, e.Prompt, generate.Options{N: 120}, nil)
			if err != nil {
				return err
			}
			*run.text = r.Text
		}
		d.result.Samples = append(d.result.Samples, s)
		d.show(s)
	}
	return nil
}
