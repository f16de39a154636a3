package recurrent

import (
	"math"

	"github.com/peftconv/peftconv/kernels"
)

// DeltaHeads divides the columns of a gated delta net into heads. Several value heads share a key head: value head h
// has key head h/(ValueHeads/KeyHeads) where they are grouped, and else h mod KeyHeads.
type DeltaHeads struct {
	KeyHeads, ValueHeads int // ValueHeads is a multiple of KeyHeads
	KeyDim, ValueDim     int // columns of one head
	Grouped              bool
}

// StateLen is the number of values of a state: (ValueHeads, ValueDim, KeyDim).
func (h DeltaHeads) StateLen() int { return h.ValueHeads * h.headLen() }

func (h DeltaHeads) headLen() int { return h.ValueDim * h.KeyDim }

// shared is the number of value heads of a key head.
func (h DeltaHeads) shared() int { return h.ValueHeads / h.KeyHeads }

// keyHead is the key head of a value head.
func (h DeltaHeads) keyHead(value int) int {
	if h.Grouped {
		return value / h.shared()
	}
	return value % h.KeyHeads
}

// valueHead is value head number i of a key head.
func (h DeltaHeads) valueHead(key, i int) int {
	if h.Grouped {
		return key*h.shared() + i
	}
	return i*h.KeyHeads + key
}

// Delta is a gated delta net over a packed batch of T tokens (Yang et al. 2024, "Gated Delta Networks: Improving Mamba2
// with Delta Rule"). For every sequence and value head, with its key head's q and k, from S = 0 (ValueDim, KeyDim):
//
//	S = exp(g)·S
//	S = S + beta·(v - S·k)·kᵀ
//	y = S·q / sqrt(KeyDim)
type Delta struct {
	Heads   DeltaHeads
	Q, K    []float32 // (T, KeyHeads·KeyDim) of norm 1 in each head
	V       []float32 // (T, ValueHeads·ValueDim)
	G, Beta []float32 // (T, ValueHeads) logarithm of the decay, at most 0, and how much of a change is made
	Bounds  []int32   // sequence s is tokens Bounds[s] to Bounds[s+1]-1

	// of the call in progress
	y, dy, starts, state []float32
	grads                DeltaGradients
}

// DeltaGradients are those of the arguments of a Delta of the same names, which Backward adds to.
type DeltaGradients struct{ Q, K, V, G, Beta []float32 }

// StartsLen is the number of values of the states at the starts of all chunks.
func (d *Delta) StartsLen() int { return allChunks(d.Bounds) * d.Heads.StateLen() }

// Forward computes y (T, ValueHeads·ValueDim). starts gets the states at the starts of the chunks, for Backward; nil:
// they are not kept.
func (d *Delta) Forward(y, starts []float32) {
	d.check(len(y))
	check(starts == nil || len(starts) == d.StartsLen(), "Delta: memory for states does not fit")
	d.y, d.starts = y, starts
	divide(d.parts(), d.work(), (*deltaForward)(d))
	d.y, d.starts = nil, nil
}

// fewRows is the number of tokens up to which a session takes the recurrence: a chunk of so few is no faster.
const fewRows = 2

// Continue computes y for the one sequence of the batch, which goes on from a state, and makes it the state after it.
func (d *Delta) Continue(y, state []float32) {
	d.check(len(y))
	check(len(state) == d.Heads.StateLen() && len(d.Bounds) == 2, "Delta: state does not fit")
	d.y, d.state = y, state
	if d.Bounds[1]-d.Bounds[0] <= fewRows {
		divide(d.Heads.ValueHeads, d.work(), (*deltaSteps)(d))
	} else {
		divide(d.parts(), d.work(), (*deltaForward)(d))
	}
	d.y, d.state = nil, nil
}

// Backward adds to grads, given the gradient of y and the states that Forward kept.
func (d *Delta) Backward(grads DeltaGradients, dy, starts []float32) {
	d.check(len(dy))
	check(len(starts) == d.StartsLen(), "Delta: states do not fit")
	check(len(grads.Q) == len(d.Q) && len(grads.K) == len(d.K) && len(grads.V) == len(d.V) &&
		len(grads.G) == len(d.G) && len(grads.Beta) == len(d.Beta), "Delta: gradients do not fit")
	d.grads, d.dy, d.starts = grads, dy, starts
	divide(d.parts(), 2*d.work(), (*deltaBackward)(d))
	d.grads, d.dy, d.starts = DeltaGradients{}, nil, nil
}

func (d *Delta) check(y int) {
	h, rows := d.Heads, int(d.Bounds[len(d.Bounds)-1])
	check(h.KeyHeads > 0 && h.ValueHeads%h.KeyHeads == 0, "Delta: value heads are no multiple of the key heads")
	check(len(d.Q) == rows*h.KeyHeads*h.KeyDim && len(d.K) == len(d.Q), "Delta: queries and keys do not fit the bounds")
	check(len(d.V) == rows*h.ValueHeads*h.ValueDim && y == len(d.V), "Delta: values do not fit the bounds")
	check(len(d.G) == rows*h.ValueHeads && len(d.Beta) == len(d.G), "Delta: decays do not fit the bounds")
}

// parts is the number of sequences times key heads: value heads that share a key head share products.
func (d *Delta) parts() int { return (len(d.Bounds) - 1) * d.Heads.KeyHeads }

func (d *Delta) work() int { return 4 * len(d.V) * d.Heads.KeyDim }

// scale is the factor of the queries.
func (d *Delta) scale() float32 { return float32(1 / math.Sqrt(float64(d.Heads.KeyDim))) }

// keyWidth and valueWidth are how far apart rows are.
func (d *Delta) keyWidth() int   { return d.Heads.KeyHeads * d.Heads.KeyDim }
func (d *Delta) valueWidth() int { return d.Heads.ValueHeads * d.Heads.ValueDim }

// ofKey is x, queries, keys or their gradients, from token t of a key head on.
func (d *Delta) ofKey(x []float32, t, key int) []float32 {
	return x[t*d.keyWidth()+key*d.Heads.KeyDim:]
}

// ofValue is x, values, results or their gradients, from token t of a value head on.
func (d *Delta) ofValue(x []float32, t, value int) []float32 {
	return x[t*d.valueWidth()+value*d.Heads.ValueDim:]
}

// deltaSteps is the recurrence, one value head a part.
type deltaSteps Delta

func (d *deltaSteps) part(head int, _ *scratch) {
	n, h := (*Delta)(d), d.Heads
	state := d.state[head*h.headLen():][:h.headLen()]
	for t := int(d.Bounds[0]); t < int(d.Bounds[1]); t++ {
		q := n.ofKey(d.Q, t, h.keyHead(head))[:h.KeyDim]
		k := n.ofKey(d.K, t, h.keyHead(head))[:h.KeyDim]
		v, y := n.ofValue(d.V, t, head), n.ofValue(d.y, t, head)
		beta, keep := d.Beta[t*h.ValueHeads+head], float32(math.Exp(float64(d.G[t*h.ValueHeads+head])))
		for j := range h.ValueDim {
			row := state[j*h.KeyDim : (j+1)*h.KeyDim]
			change := beta * (v[j] - keep*kernels.Dot(row, k))
			kernels.Scale(keep, row)
			kernels.Axpy(change, k, row)
			y[j] = kernels.Dot(row, q) * n.scale()
		}
	}
}
