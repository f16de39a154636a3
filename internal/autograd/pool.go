package autograd

// pool keeps used operations for the next step.
type pool[T any] struct{ free []*T }

// take returns an operation with the fields of its last use.
func (p *pool[T]) take() *T {
	if n := len(p.free); n > 0 {
		op := p.free[n-1]
		p.free = p.free[:n-1]
		return op
	}
	return new(T)
}

func (p *pool[T]) give(op *T) { p.free = append(p.free, op) }

// pools keep the operations of a tape, so that a step like the one before allocates none.
type pools struct {
	linear       pool[linearOp]
	lora         pool[loraOp]
	add          pool[addOp]
	gated        pool[gatedOp]
	sigmoidGate  pool[sigmoidGateOp]
	split        pool[splitOp]
	beside       pool[besideOp]
	repeat       pool[repeatOp]
	scale        pool[scaleOp]
	scaleByRow   pool[scaleByRowOp]
	clamp        pool[clampOp]
	norm         pool[normOp]
	rope         pool[ropeOp]
	attention    pool[attentionOp]
	crossEntropy pool[crossEntropyOp]
	checkpoint   pool[checkpointOp]
	kept         pool[keptOp]
	route        pool[routeOp]
	gather       pool[gatherOp]
	combine      pool[combineOp]
	causalConv   pool[causalConvOp]
	l2Norm       pool[l2NormOp]
	softplus     pool[softplusOp]
	delta        pool[deltaOp]
	mamba        pool[mambaOp]
}

// keep records an operation for backward, or recycles it if it is not needed.
func (t *Tape) keep(op operation, needed bool) {
	if needed && t.record {
		t.ops = append(t.ops, op)
		return
	}
	t.recycle(op)
}

// recycle takes back an operation.
func (t *Tape) recycle(op operation) {
	switch op := op.(type) {
	case *linearOp:
		t.pools.linear.give(op)
	case *loraOp:
		t.pools.lora.give(op)
	case *addOp:
		t.pools.add.give(op)
	case *gatedOp:
		t.pools.gated.give(op)
	case *sigmoidGateOp:
		t.pools.sigmoidGate.give(op)
	case *splitOp:
		t.pools.split.give(op)
	case *besideOp:
		t.pools.beside.give(op)
	case *repeatOp:
		t.pools.repeat.give(op)
	case *scaleOp:
		t.pools.scale.give(op)
	case *scaleByRowOp:
		t.pools.scaleByRow.give(op)
	case *clampOp:
		t.pools.clamp.give(op)
	case *normOp:
		t.pools.norm.give(op)
	case *ropeOp:
		t.pools.rope.give(op)
	case *attentionOp:
		t.pools.attention.give(op)
	case *crossEntropyOp:
		t.pools.crossEntropy.give(op)
	case *checkpointOp:
		t.pools.checkpoint.give(op)
	case *keptOp:
		t.pools.kept.give(op)
	case *routeOp:
		t.pools.route.give(op)
	case *gatherOp:
		t.pools.gather.give(op)
	case *combineOp:
		t.pools.combine.give(op)
	case *causalConvOp:
		t.pools.causalConv.give(op)
	case *l2NormOp:
		t.pools.l2Norm.give(op)
	case *softplusOp:
		t.pools.softplus.give(op)
	case *deltaOp:
		t.pools.delta.give(op)
	case *mambaOp:
		t.pools.mamba.give(op)
	}
}
