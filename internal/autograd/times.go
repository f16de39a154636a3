package autograd

import "time"

// Part is a kind of work that a step is made of.
type Part int

// The parts of a step.
const (
	PartOther Part = iota
	PartEmbedding
	PartLinear         // frozen products, forward
	PartLinearBackward // frozen products, backward
	PartLoRA
	PartAttention
	PartElementwise // norms, rope, activation, residual
	PartCrossEntropy
	Parts // how many there are
)

func (p Part) String() string {
	return [...]string{"other", "embedding", "linear forward", "linear backward", "lora", "attention", "norms, rope, swiglu, residual",
		"cross entropy"}[p]
}

// Times is how long each part has taken.
type Times [Parts]time.Duration

// stopwatch measures the parts of a step: each operation takes the time since the one before it ended.
type stopwatch struct {
	times *Times
	last  time.Time
}

// Measure has the tape add what its operations take to times, from now on; nil ends it.
func (t *Tape) Measure(times *Times) { t.watch = stopwatch{times, time.Now()} }

// lap ends an operation that is work of part p.
func (t *Tape) lap(p Part) {
	if t.watch.times == nil {
		return
	}
	now := time.Now()
	t.watch.times[p] += now.Sub(t.watch.last)
	t.watch.last = now
}

// backwardPart is what part the backward of an operation is of.
func backwardPart(op operation) Part {
	switch op.(type) {
	case *linearOp:
		return PartLinearBackward
	case *loraOp:
		return PartLoRA
	case *attentionOp:
		return PartAttention
	case *rmsNormOp, *ropeOp, *swigluOp, *addOp:
		return PartElementwise
	case *crossEntropyOp:
		return PartCrossEntropy
	case *tapEmbeddingOp:
		return PartEmbedding
	}
	return PartOther
}
