package pretrain

import (
	"context"
	"fmt"
	"time"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/tokenizer"
	"github.com/peftconv/peftconv/kernels"
)

// Progress is the state of the training after a step.
type Progress struct {
	Step, Steps int
	Loss        float64 // mean of the step's tokens
	Norm        float64 // of the gradient, before clipping
	Tokens      int     // trained on so far
	Elapsed     time.Duration
}

// Trained is a model that has been through its recipe.
type Trained struct {
	recipe    Recipe
	meta      *gguf.Metadata
	weights   *weights
	vocabSHA  string
	documents uint64 // read
	tokens    int    // trained on
	loss      float64
	tier      string
}

// Train makes the model of a recipe. The report, which may be nil, is called after every step.
func Train(ctx context.Context, r Recipe, report func(Progress)) (*Trained, error) {
	v, sha, err := r.Vocabulary()
	if err != nil {
		return nil, fmt.Errorf("train the vocabulary: %w", err)
	}
	meta, err := r.metadata(v)
	if err != nil {
		return nil, fmt.Errorf("describe the model: %w", err)
	}
	trained := &Trained{recipe: r, meta: meta, weights: newWeights(&r), vocabSHA: sha, tier: kernels.Tier()}
	if err := trained.run(ctx, report); err != nil {
		return nil, err
	}
	return trained, nil
}

func (t *Trained) run(ctx context.Context, report func(Progress)) error {
	m, tok, err := t.live()
	if err != nil {
		return err
	}
	start, tape, b := time.Now(), autograd.NewTape(), &batch.Batch{}
	text := &reader{recipe: &t.recipe, tok: tok}
	for step := range t.recipe.Steps {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("stopped after %d of %d steps: %w", step, t.recipe.Steps, err)
		}
		text.fill(b)
		tape.Reset(0)
		sum, targets := m.Loss(tape, b, t.weights, 1/float32(b.TargetCount()))
		tape.Backward()
		norm := t.weights.update(&t.recipe, step)
		t.tokens += b.Tokens()
		if t.loss += 0.02 * (sum/float64(targets) - t.loss); step == 0 {
			t.loss = sum / float64(targets)
		}
		if report != nil {
			report(Progress{step + 1, t.recipe.Steps, sum / float64(targets), norm, t.tokens, time.Since(start)})
		}
	}
	t.documents = text.documents
	return nil
}

// live is a model that computes with the weights as they are at every moment, and its tokenizer.
func (t *Trained) live() (*model.Model, *tokenizer.Tokenizer, error) {
	f, _, err := t.weights.open(t.meta, gguf.F32)
	if err != nil {
		return nil, nil, fmt.Errorf("lay out the model: %w", err)
	}
	m, err := model.FromGGUF(f)
	if err != nil {
		return nil, nil, fmt.Errorf("lay out the model: %w", err)
	}
	tok, err := tokenizer.FromGGUF(t.meta)
	if err != nil {
		return nil, nil, fmt.Errorf("read the vocabulary: %w", err)
	}
	t.weights.attach(m)
	return m, tok, nil
}
