package evaluate

import (
	"math"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
)

// classes measures a batch of classified examples.
func (m *measured) classes(b *attach.Base, hooks attach.Stack, examples []int, tape *autograd.Tape) error {
	score := headLosses
	if m.set.Answers != nil {
		score = wordLosses
	}
	all, err := score(b, hooks, m.set, examples, tape)
	if err != nil {
		return err
	}
	for i, losses := range all {
		e, err := m.set.At(examples[i])
		if err != nil {
			return err
		}
		class := e.Class - 1
		m.put(examples[i], losses[class], max(1, len(answerOf(m.set, class))), Best(losses) == class)
	}
	return nil
}

// answerOf is the tokens of a class's label; nil for a head.
func answerOf(set *attach.Data, class int) []int32 {
	if set.Answers == nil {
		return nil
	}
	return set.Answers[class]
}

// Best is the class with the least loss, the first of several.
func Best(losses []float64) int {
	at := 0
	for i, loss := range losses {
		if loss < losses[at] {
			at = i
		}
	}
	return at
}

// headLosses are the losses of every class by the head, of each example.
func headLosses(b *attach.Base, hooks attach.Stack, set *attach.Data, examples []int,
	tape *autograd.Tape) ([][]float64, error) {
	var packed batch.Batch
	if err := set.Batch(&packed, examples); err != nil {
		return nil, err
	}
	hooks.Expand(&packed)
	tape.Record(false)
	tape.Reset(0)
	rows := make([]int, packed.Sequences())
	for s := range rows {
		rows[s] = int(packed.Bounds[s+1]) - 1
	}
	logits := b.Model.Logits(tape, &packed, hooks, rows)
	all := make([][]float64, logits.Rows)
	for i := range all {
		all[i] = MinusLogSoftmax(logits.Row(i))
	}
	return all, nil
}

// MinusLogSoftmax is -log of the probability of each logit.
func MinusLogSoftmax(logits []float32) []float64 {
	top, sum := math.Inf(-1), 0.0
	for _, v := range logits {
		top = math.Max(top, float64(v))
	}
	for _, v := range logits {
		sum += math.Exp(float64(v) - top)
	}
	out := make([]float64, len(logits))
	for i, v := range logits {
		out[i] = top + math.Log(sum) - float64(v)
	}
	return out
}

// wordLosses are the summed losses of the words of every label, of each example.
func wordLosses(b *attach.Base, hooks attach.Stack, set *attach.Data, examples []int,
	tape *autograd.Tape) ([][]float64, error) {
	var packed batch.Batch
	for _, i := range examples {
		e, err := set.At(i)
		if err != nil {
			return nil, err
		}
		prompt := e.IDs[:len(e.IDs)-e.Targets()]
		for _, answer := range set.Answers {
			ids := append(prompt[:len(prompt):len(prompt)], answer...)
			loss := make([]bool, len(ids))
			for j := len(prompt); j < len(ids); j++ {
				loss[j] = true
			}
			packed.Append(ids, loss)
		}
	}
	losses := Forward(b, hooks, hooks, &packed, tape)
	all := make([][]float64, len(examples))
	for i := range all {
		all[i] = make([]float64, len(set.Answers))
		for k, answer := range set.Answers {
			for range answer {
				all[i][k] += float64(losses[0])
				losses = losses[1:]
			}
		}
	}
	return all, nil
}

// baseClasses is the loss of the base on classes that it has no head for: that of a guess.
func baseClasses(set *attach.Data) *Result {
	loss := math.Log(float64(set.Classes))
	return &Result{Loss: loss, Perplexity: math.Exp(loss), Tokens: set.Len(), Examples: set.Len()}
}
