package eval

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/evaluate"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/memory"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/tokenizer"
	"github.com/peftconv/peftconv/peft"
)

// Result is the loss on a data set.
type Result struct {
	Loss       float64 `json:"loss"`       // mean cross entropy, natural logarithm
	Perplexity float64 `json:"perplexity"` // its exponential
	Tokens     int     `json:"tokens"`     // targets that the mean is over
	Examples   int     `json:"examples"`
	// Accuracy is the share of examples whose label is the likeliest, of classified ones.
	Accuracy *float64 `json:"accuracy,omitempty"`
	// Files are the same of each file, where the data are of several.
	Files []peft.FileLoss `json:"files,omitempty"`
}

// Loss is the mean loss over the targets of a data set, with adapters. batchTokens is the most tokens
// that go through the model at once (0: 2048); it does not change the result beyond rounding.
func Loss(ctx context.Context, b *peft.Base, adapters []peft.Scaled, set *peft.Data, batchTokens int) (_ *Result,
	err error) {
	defer mapped.Guard(&err)()
	r, err := loss(ctx, handle.Base(b), handle.Scaled(adapters), handle.Data(set), batchTokens)
	if err != nil {
		return nil, fmt.Errorf("evaluate: %w", err)
	}
	out := &Result{Loss: r.Loss, Perplexity: r.Perplexity, Tokens: r.Tokens, Examples: r.Examples, Accuracy: r.Accuracy}
	for _, f := range r.Files {
		out.Files = append(out.Files, peft.FileLoss(f))
	}
	return out, nil
}

// loss is Loss on what the arguments hold.
func loss(ctx context.Context, b *attach.Base, adapters []attach.Scaled, set *attach.Data,
	batchTokens int) (*evaluate.Result, error) {
	if batchTokens == 0 {
		batchTokens = evaluate.Tokens
	}
	if err := attach.CheckSet(b, set, 0, attach.AdaptersOf(adapters)...); err != nil {
		return nil, err
	}
	tokens := min(max(batchTokens, set.Longest()), set.Tokens())
	if err := memory.Check(fmt.Sprintf("a batch of %d tokens", tokens), b.Model.ForwardBytes(tokens)); err != nil {
		return nil, err
	}
	hooks, err := attach.BindAll(b, adapters)
	if err != nil {
		return nil, err
	}
	return evaluate.LossOf(ctx, b, hooks, set, batchTokens, autograd.NewTape())
}

// PerplexityResult is what Perplexity finds.
type PerplexityResult struct {
	Perplexity float64 `json:"perplexity"`
	Loss       float64 `json:"loss"`   // its logarithm: the mean over the scored tokens
	Error      float64 `json:"error"`  // standard error of the perplexity
	Tokens     int     `json:"tokens"` // scored
	Windows    int     `json:"windows"`
	Ctx        int     `json:"ctx"`
}

// PerplexityOptions says how Perplexity measures.
type PerplexityOptions struct {
	Ctx int // tokens of a window; 0: DefaultWindow
	// ExactActivations multiplies quantized weights with activations as they are. Otherwise activations are rounded
	// as llama.cpp's CPU backend rounds them, so that the figure is the one that llama-perplexity prints.
	ExactActivations bool
	// Progress, which may be nil, is called after each batch of windows with the figure so far.
	Progress func(done, windows int, perplexity float64)
}

// Perplexity is defined as in llama-perplexity: the text is cut into windows of opt.Ctx tokens, the first token of each
// is replaced by BOS where the vocabulary begins texts with it, and the second half of each window is scored. ids are
// the tokens of the text; BOS is put in front where the vocabulary says so and it is not there. What does not fill a
// window is left out.
func Perplexity(ctx context.Context, b *peft.Base, adapters []peft.Scaled, ids []int32,
	opt PerplexityOptions) (*PerplexityResult, error) {
	return perplexity(ctx, handle.Base(b), handle.Scaled(adapters), ids, opt)
}

// perplexity is Perplexity on what the arguments hold.
func perplexity(ctx context.Context, b *attach.Base, adapters []attach.Scaled, ids []int32,
	opt PerplexityOptions) (*PerplexityResult, error) {
	if opt.Ctx == 0 {
		opt.Ctx = DefaultWindow
	}
	w, err := newWindows(b, ids, opt.Ctx)
	if err != nil {
		return nil, fmt.Errorf("perplexity: %w", err)
	}
	tokens := min(max(opt.Ctx, evaluate.Tokens), len(ids))
	if err := memory.Check(fmt.Sprintf("a batch of %d tokens", tokens), b.Model.ForwardBytes(tokens)); err != nil {
		return nil, fmt.Errorf("perplexity: %w", err)
	}
	bound, err := attach.BindAll(b, adapters)
	if err != nil {
		return nil, fmt.Errorf("perplexity: %w", err)
	}
	var hooks model.Hooks = bound
	if !opt.ExactActivations {
		hooks = model.RuntimeActivations{Hooks: bound}
	}
	var sum, squares float64
	var packed batch.Batch
	tape := autograd.NewTape()
	r := &PerplexityResult{Ctx: opt.Ctx, Windows: w.count}
	for first := 0; first < w.count; {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("perplexity: %w", err)
		}
		last := min(w.count, first+max(1, evaluate.Tokens/opt.Ctx))
		packed.Reset()
		for i := first; i < last; i++ {
			w.append(&packed, i)
		}
		for _, loss := range evaluate.Forward(b, bound, hooks, &packed, tape) {
			sum += float64(loss)
			squares += float64(loss) * float64(loss)
			r.Tokens++
		}
		first = last
		if opt.Progress != nil {
			opt.Progress(first, w.count, math.Exp(sum/float64(r.Tokens)))
		}
	}
	if r.set(sum, squares); !floats.Finite(r.Loss) {
		return nil, fmt.Errorf("perplexity: %w", evaluate.NotFinite(b, r.Loss))
	}
	return r, nil
}

// set fills in what follows from the sums of the losses and of their squares.
func (r *PerplexityResult) set(sum, squares float64) {
	n := float64(r.Tokens)
	r.Loss = sum / n
	r.Perplexity = math.Exp(r.Loss)
	if variance := squares/n - r.Loss*r.Loss; r.Tokens > 1 && variance > 0 {
		r.Error = math.Sqrt(variance/(n-1)) * r.Perplexity
	}
}

// textWindows cuts a text for Perplexity.
type textWindows struct {
	ids    []int32
	bos    int32
	hasBOS bool
	size   int
	count  int
	scored []bool // of one window: the tokens that are predicted
}

// withBOS is a text with BOS in front, where the vocabulary begins texts with it; ok says whether it does.
func withBOS(tok *tokenizer.Tokenizer, ids []int32) (all []int32, bos int32, ok bool) {
	if tok == nil || !tok.AddBOS() {
		return ids, 0, false
	}
	if bos, ok = tok.BOS(); ok && (len(ids) == 0 || ids[0] != bos) {
		ids = slices.Concat([]int32{bos}, ids)
	}
	return ids, bos, ok
}

func newWindows(b *attach.Base, ids []int32, size int) (*textWindows, error) {
	w := &textWindows{}
	w.ids, w.bos, w.hasBOS = withBOS(b.Tokenizer, ids)
	return w, w.cut(b, size)
}

// cut cuts the text into windows.
func (w *textWindows) cut(b *attach.Base, size int) error {
	w.size = size
	if size < 4 {
		return fmt.Errorf("a context of %d tokens, expected 4 or more", size)
	}
	if limit := b.Model.Spec.Context; limit > 0 && size > limit {
		return fmt.Errorf("a context of %d tokens, but %s was made for %d", size, b.Path, limit)
	}
	if w.count = len(w.ids) / size; w.count == 0 {
		return fmt.Errorf("the text has %d tokens, less than one window of %d", len(w.ids), size)
	}
	for i, id := range w.ids {
		if id < 0 || int(id) >= b.Model.Spec.Vocab {
			return fmt.Errorf("token %d has id %d, beyond the vocabulary of %d", i+1, id, b.Model.Spec.Vocab)
		}
	}
	w.scored = make([]bool, size)
	for i := size/2 + 1; i < size; i++ {
		w.scored[i] = true
	}
	return nil
}

// append puts window i into a batch.
func (w *textWindows) append(packed *batch.Batch, i int) {
	at := len(packed.IDs)
	packed.Append(w.ids[i*w.size:(i+1)*w.size], w.scored)
	if w.hasBOS {
		packed.IDs[at] = w.bos
	}
}
