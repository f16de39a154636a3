package autograd

import "time"

// Part is a kind of work in a step.
type Part int

// The parts of a step.
const (
	PartOther Part = iota
	PartEmbedding
	PartLinear         // frozen products, forward
	PartLinearBackward // frozen products, backward
	PartLoRA
	PartAttention   // and the scans of layers that have a state in its place
	PartElementwise // norms, rope, activation, residual
	PartCrossEntropy
	Parts // number of parts
)

func (p Part) String() string {
	return [...]string{"other", "embedding", "linear forward", "linear backward", "lora", "attention",
		"norms, rope, swiglu, residual", "cross entropy"}[p]
}

// Times is the time of each part.
type Times [Parts]time.Duration

// stopwatch measures the parts of a step: each operation takes the time since the one before it ended.
type stopwatch struct {
	times *Times
	last  time.Time
}

// Measure adds the times of the tape's operations to times, from now on; nil stops it.
func (t *Tape) Measure(times *Times) { t.watch = stopwatch{times, time.Now()} }

// lap ends an operation of part p.
func (t *Tape) lap(p Part) {
	if t.watch.times == nil {
		return
	}
	now := time.Now()
	t.watch.times[p] += now.Sub(t.watch.last)
	t.watch.last = now
}

// backwardPart is the part of an operation's backward.
func backwardPart(op operation) Part {
	switch op.(type) {
	case *linearOp:
		return PartLinearBackward
	case *loraOp:
		return PartLoRA
	case *attentionOp, *deltaOp, *mambaOp:
		return PartAttention
	case *normOp, *ropeOp, *gatedOp, *sigmoidGateOp, *addOp, *scaleOp, *scaleByRowOp, *clampOp, *splitOp, *besideOp,
		*repeatOp, *routeOp, *gatherOp, *combineOp, *causalConvOp, *l2NormOp, *softplusOp:
		return PartElementwise
	case *crossEntropyOp:
		return PartCrossEntropy
	case *tapEmbeddingOp:
		return PartEmbedding
	}
	return PartOther
}
