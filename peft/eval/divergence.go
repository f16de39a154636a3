package eval

import (
	"context"
	"errors"
	"fmt"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/evaluate"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/logprobs"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/memory"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/peft"
)

// A Reference is what a model is compared with: another model, or what llama-perplexity wrote down of one.
type Reference struct {
	base   *attach.Base
	reader *logprobs.Reader
}

// ReferenceModel is a base as reference. It has to have the vocabulary of the model that is compared with it.
func ReferenceModel(b *peft.Base) *Reference { return &Reference{base: handle.Base(b)} }

// OpenLogProbs opens a file that llama-perplexity --kl-divergence-base or SaveLogProbs wrote.
func OpenLogProbs(path string) (*Reference, error) {
	r, err := logprobs.Open(path)
	if err != nil {
		return nil, err
	}
	return &Reference{reader: r}, nil
}

// IsLogProbs says whether a file begins as one for OpenLogProbs does.
func IsLogProbs(path string) bool { return logprobs.Is(path) }

// Text is the tokens of the text that a file is about, and how many are in a window; ok is false for a model
// and for nil.
func (r *Reference) Text() (ids []int32, ctx int, ok bool) {
	if r == nil || r.reader == nil {
		return nil, 0, false
	}
	return r.reader.IDs, r.reader.Ctx, true
}

// Close closes the file, where there is one. A base stays open.
func (r *Reference) Close() error {
	if r.reader == nil {
		return nil
	}
	return r.reader.Close()
}

// check wants the vocabulary of a base.
func (r *Reference) check(b *attach.Base) error {
	if r.reader == nil {
		return attach.SameVocabulary(b, r.base)
	}
	if r.reader.Vocab != b.Model.Spec.Vocab {
		return fmt.Errorf("log probabilities of %d tokens, but the vocabulary of %s has %d", r.reader.Vocab, b.Path,
			b.Model.Spec.Vocab)
	}
	return nil
}

// Divergence compares a base, with adapters, with a reference over the windows of a text, as llama-perplexity
// --kl-divergence does: with the reference's probabilities rounded to 16 bits of their logarithms. Windows are those of
// Perplexity. Where the reference is a file, ids and opt.Ctx are not used: it has its own.
func Divergence(ctx context.Context, b *peft.Base, adapters []peft.Scaled, ids []int32, reference *Reference,
	opt PerplexityOptions) (_ *Figures, err error) {
	defer mapped.Guard(&err)()
	f, err := divergence(ctx, handle.Base(b), handle.Scaled(adapters), ids, reference, opt)
	if err != nil {
		return nil, fmt.Errorf("divergence: %w", err)
	}
	return f, nil
}

// divergence is Divergence on what the arguments hold.
func divergence(ctx context.Context, b *attach.Base, adapters []attach.Scaled, ids []int32, reference *Reference,
	opt PerplexityOptions) (*Figures, error) {
	if err := reference.check(b); err != nil {
		return nil, err
	}
	w, err := windowsOf(b, ids, reference, opt.Ctx)
	if err != nil {
		return nil, err
	}
	student, err := newScorer(b, adapters, w, opt)
	if err != nil {
		return nil, err
	}
	rows := make([]logprobs.Row, logprobs.Scored(w.size))
	next := func(int) error { return reference.read(rows) }
	if reference.base != nil {
		teacher, err := newScorer(reference.base, nil, w, opt)
		if err != nil {
			return nil, err
		}
		next = func(i int) error {
			return teacher.window(i, func(r int, _ int32, logits []float32) { rows[r].Set(logits) })
		}
	}
	places := make([]logprobs.Comparison, 0, len(rows)*w.count)
	sum := 0.0
	for i := range w.count {
		if err := errors.Join(ctx.Err(), next(i)); err != nil {
			return nil, err
		}
		at := len(places)
		places = places[:at+len(rows)]
		err := student.window(i, func(r int, target int32, logits []float32) {
			places[at+r] = rows[r].Compare(logits, target)
		})
		if err != nil {
			return nil, err
		}
		for _, c := range places[at:] {
			sum += c.Divergence
		}
		if opt.Progress != nil {
			opt.Progress(i+1, w.count, sum/float64(len(places)))
		}
	}
	f := figuresOf(places)
	if !floats.Finite(f.Divergence.Value) {
		return nil, evaluate.NotFinite(b, f.Divergence.Value)
	}
	return f, nil
}

// windowsOf are the windows of a reference's own text, or of ids.
func windowsOf(b *attach.Base, ids []int32, reference *Reference, size int) (*textWindows, error) {
	if own, ctx, ok := reference.Text(); ok {
		w := &textWindows{ids: own}
		if tok := b.Tokenizer; tok != nil && tok.AddBOS() {
			w.bos, w.hasBOS = tok.BOS()
		}
		return w, w.cut(b, ctx)
	}
	if size == 0 {
		size = DefaultWindow
	}
	return newWindows(b, ids, size)
}

// read reads the rows of the next window.
func (r *Reference) read(rows []logprobs.Row) error {
	for i := range rows {
		if err := r.reader.Next(&rows[i]); err != nil {
			return err
		}
	}
	return nil
}

// SaveLogProbs writes what a base, with adapters, finds in the windows of a text, for OpenLogProbs and for
// llama-perplexity --kl-divergence. A file takes about 2 bytes for each scored token and token of the vocabulary.
func SaveLogProbs(ctx context.Context, path string, b *peft.Base, adapters []peft.Scaled, ids []int32,
	opt PerplexityOptions) (err error) {
	defer mapped.Guard(&err)()
	if err := saveLogProbs(ctx, path, handle.Base(b), handle.Scaled(adapters), ids, opt); err != nil {
		return fmt.Errorf("log probabilities: %w", err)
	}
	return nil
}

// saveLogProbs is SaveLogProbs on what the arguments hold.
func saveLogProbs(ctx context.Context, path string, b *attach.Base, adapters []attach.Scaled, ids []int32,
	opt PerplexityOptions) error {
	w, err := windowsOf(b, ids, nil, opt.Ctx)
	if err != nil {
		return err
	}
	s, err := newScorer(b, adapters, w, opt)
	if err != nil {
		return err
	}
	out, err := logprobs.Create(path, &logprobs.Header{Ctx: w.size, Vocab: b.Model.Spec.Vocab,
		IDs: w.ids[:w.count*w.size]})
	if err != nil {
		return err
	}
	defer out.Abort()
	rows := make([]logprobs.Row, logprobs.Scored(w.size))
	var loss float64
	losses := make([]float32, len(rows))
	for i := range w.count {
		err := s.window(i, func(r int, target int32, logits []float32) {
			logit := logits[target]
			losses[r] = rows[r].Set(logits) - logit
		})
		if err := errors.Join(ctx.Err(), err); err != nil {
			return err
		}
		for r := range rows {
			loss += float64(losses[r])
			if err := out.Write(&rows[r]); err != nil {
				return err
			}
		}
		if !floats.Finite(loss) {
			return evaluate.NotFinite(b, loss)
		}
		if opt.Progress != nil {
			opt.Progress(i+1, w.count, loss/float64((i+1)*len(rows)))
		}
	}
	return out.Commit()
}

// scorer runs one model over windows.
type scorer struct {
	base    *attach.Base
	windows *textWindows
	bound   attach.Stack
	hooks   model.Hooks
	tape    *autograd.Tape
	packed  batch.Batch
	rows    []int
	targets []int32
}

func newScorer(b *attach.Base, adapters []attach.Scaled, w *textWindows, opt PerplexityOptions) (*scorer, error) {
	need := b.Model.ForwardBytes(w.size) + int64(logprobs.Scored(w.size))*int64(b.Model.Spec.Vocab)*2
	if err := memory.Check(fmt.Sprintf("a window of %d tokens", w.size), need); err != nil {
		return nil, err
	}
	bound, err := attach.BindAll(b, adapters)
	if err != nil {
		return nil, err
	}
	s := &scorer{base: b, windows: w, bound: bound, hooks: bound, tape: autograd.NewTape()}
	if !opt.ExactActivations {
		s.hooks = model.RuntimeActivations{Hooks: bound}
	}
	s.tape.Record(false)
	return s, nil
}

// window calls f for each scored token of window i, with the token that follows and the logits before it, which f may
// overwrite. It is called from several goroutines.
func (s *scorer) window(i int, f func(row int, target int32, logits []float32)) error {
	s.packed.Reset()
	s.windows.append(&s.packed, i)
	s.bound.Expand(&s.packed)
	s.rows, s.targets = s.rows[:0], s.targets[:0]
	for at, target := range s.packed.Targets {
		if target != batch.Ignore {
			s.rows, s.targets = append(s.rows, at), append(s.targets, target)
		}
	}
	if n := logprobs.Scored(s.windows.size); len(s.rows) != n {
		return fmt.Errorf("with the adapters %d tokens of a window are scored, expected %d", len(s.rows), n)
	}
	s.tape.Reset(0)
	s.base.Model.EachLogits(s.tape, &s.packed, s.hooks, s.rows, func(r int, logits []float32) {
		f(r, s.targets[r], logits)
	})
	return nil
}
