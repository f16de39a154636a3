package pretrain

import (
	"fmt"
	"math"
	"strings"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/demo/tale"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/tokenizer"
)

// An Exam is the held-out text on which a model is examined.
type Exam struct {
	Seed      uint64
	Documents uint64 // whose loss is measured
	Probes    int    // questions about tales, and about the world, at most
}

// BuiltinExam is the exam whose marks the built-in model's metadata tell.
func BuiltinExam() Exam { return Exam{Seed: 1001, Documents: 300, Probes: 400} }

// Marks say what a model has learned.
type Marks struct {
	Loss       float64 // mean cross entropy of the held-out documents' tokens
	Perplexity float64 // e^Loss
	Tales      float64 // share of the questions about held-out tales that it answers word for word
	Facts      float64 // share of the questions about the world, without any text, that it answers word for word
}

// Examine reads held-out documents and asks held-out questions; facts are asked from memory.
func (e Exam) Examine(m *model.Model, tok *tokenizer.Tokenizer) (Marks, error) {
	marks := Marks{Loss: e.loss(m, tok)}
	marks.Perplexity = math.Exp(marks.Loss)
	var err error
	if marks.Tales, err = answered(m, tok, tale.Probes(e.Seed, e.Probes)); err != nil {
		return marks, err
	}
	facts := tale.FactProbes()
	marks.Facts, err = answered(m, tok, facts[:min(len(facts), e.Probes)])
	return marks, err
}

func (e Exam) loss(m *model.Model, tok *tokenizer.Tokenizer) float64 {
	const batchTokens = 2048
	bos, _ := tok.BOS()
	eos, _ := tok.EOS()
	tape, b := autograd.NewTape(), &batch.Batch{}
	tape.Record(false)
	var sum float64
	var targets int
	for i := range e.Documents {
		ids := append([]int32{bos}, tok.Encode(tale.Document(e.Seed, i, true), false)...)
		b.Append(append(ids, eos), nil)
		if b.Tokens() < batchTokens && i+1 < e.Documents {
			continue
		}
		tape.Reset(0)
		s, n := m.Loss(tape, b, model.NoHooks{}, 0)
		sum, targets = sum+s, targets+n
		b.Reset()
	}
	return sum / float64(targets)
}

func answered(m *model.Model, tok *tokenizer.Tokenizer, probes []tale.Probe) (float64, error) {
	right := 0
	for _, p := range probes {
		got, err := Answer(m, tok, p.Prompt)
		if err != nil {
			return 0, err
		}
		if got == strings.TrimSpace(p.Answer) {
			right++
		}
	}
	return float64(right) / float64(len(probes)), nil
}

// Answer is what the model writes greedily after the prompt, to the end of the line.
func Answer(m *model.Model, tok *tokenizer.Tokenizer, prompt string) (string, error) {
	const most = 40
	bos, _ := tok.BOS()
	ids := append([]int32{bos}, tok.Encode(prompt, false)...)
	session := m.NewSession(len(ids) + most)
	var out []int32
	for next := ids; len(out) < most; next = out[len(out)-1:] {
		logits, err := session.Append(next, model.NoHooks{})
		if err != nil {
			return "", fmt.Errorf("answer %q: %w", prompt, err)
		}
		id := largest(logits)
		if tok.IsEOG(id) || strings.Contains(tok.Decode([]int32{id}), "\n") {
			break
		}
		out = append(out, id)
	}
	return strings.TrimSpace(tok.Decode(out)), nil
}

func largest(x []float32) int32 {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return int32(best)
}
