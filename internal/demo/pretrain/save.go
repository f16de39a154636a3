package pretrain

import (
	"fmt"
	"math"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/tokenizer"
)

// The metadata in which a file says how it was made.
const (
	KeySeed           = "peftconv.make.seed"
	KeyDocuments      = "peftconv.make.documents"
	KeyCorpusSHA256   = "peftconv.make.corpus_sha256" // of the documents that were read
	KeyVocabDocuments = "peftconv.make.vocab_documents"
	KeyVocabSHA256    = "peftconv.make.vocab_sha256" // of the documents that the vocabulary was trained on
	KeyPerplexity     = "peftconv.make.heldout_perplexity"
	KeyTales          = "peftconv.make.tale_answers"
	KeyFacts          = "peftconv.make.fact_answers"
)

// Finish writes the model's matrices in the given type, examines the result and returns the file.
func (t *Trained) Finish(kind gguf.Type) ([]byte, Marks, error) {
	marks, err := t.examine(kind)
	if err != nil {
		return nil, marks, err
	}
	s := &setter{meta: t.meta.Clone()}
	if err := t.describe(s); err != nil {
		return nil, marks, err
	}
	s.set(KeyPerplexity, round(marks.Perplexity))
	s.set(KeyTales, round(marks.Tales))
	s.set(KeyFacts, round(marks.Facts))
	if s.err != nil {
		return nil, marks, s.err
	}
	_, data, err := t.weights.open(s.meta, kind)
	return data, marks, err
}

// examine examines the model as the file will hold it.
func (t *Trained) examine(kind gguf.Type) (Marks, error) {
	f, _, err := t.weights.open(t.meta, kind)
	if err != nil {
		return Marks{}, err
	}
	m, err := model.FromGGUF(f)
	if err != nil {
		return Marks{}, fmt.Errorf("read the model back: %w", err)
	}
	tok, err := tokenizer.FromGGUF(f.Meta)
	if err != nil {
		return Marks{}, fmt.Errorf("read the vocabulary back: %w", err)
	}
	return t.recipe.Exam.Examine(m, tok)
}

func (t *Trained) describe(s *setter) error {
	r := &t.recipe
	corpus, err := r.CorpusSHA256(t.documents)
	if err != nil {
		return err
	}
	s.set("general.size_label", fmt.Sprintf("%.1fM", float64(len(t.weights.p))/1e6))
	s.set("peftconv.make.command", "go generate ./internal/demo")
	s.set("peftconv.make.kernels", t.tier)
	s.set(KeySeed, r.Seed)
	s.set(KeyVocabDocuments, r.VocabDocuments)
	s.set(KeyVocabSHA256, t.vocabSHA)
	s.set(KeyDocuments, t.documents)
	s.set(KeyCorpusSHA256, corpus)
	s.set("peftconv.make.tokens", uint64(t.tokens))
	s.set("peftconv.make.steps", uint32(r.Steps))
	s.set("peftconv.make.batch_tokens", uint32(r.BatchTokens))
	s.set("peftconv.make.optimizer",
		fmt.Sprintf("AdamW, betas 0.9 and %g, weight decay %g, clip %g", r.Beta2, r.WeightDecay, r.Clip))
	s.set("peftconv.make.schedule", fmt.Sprintf("cosine from %g to %g after %d steps of warmup", r.LR, r.MinLR, r.Warmup))
	s.set("peftconv.make.train_loss", round(t.loss))
	s.set("peftconv.make.heldout_seed", r.Exam.Seed)
	s.set("peftconv.make.heldout_documents", r.Exam.Documents)
	return nil
}

// round keeps four digits after the point: enough to read, and the same on processors that add in another order.
func round(x float64) float32 { return float32(math.Round(x*1e4) / 1e4) }
