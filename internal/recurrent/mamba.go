package recurrent

import (
	"math"

	"github.com/peftconv/peftconv/kernels"
)

// MambaHeads divides the columns of a Mamba-2 layer into heads, and these into groups that share B and C: head h is in
// group h/(Heads/Groups).
type MambaHeads struct {
	Heads, HeadDim int
	Groups, State  int // Heads is a multiple of Groups; State is the columns of B and C of a group
}

// StateLen is the number of values of a state: (Heads, HeadDim, State).
func (h MambaHeads) StateLen() int { return h.Heads * h.HeadDim * h.State }

// blockWidth is about the number of columns of the heads that are computed together.
const blockWidth = 256

// together is the number of heads of a group that are computed together, at most.
func (h MambaHeads) together() int {
	return max(min(blockWidth/h.HeadDim, h.Heads/h.Groups), 1)
}

// blocks is the number of parts that the heads of a group are cut into.
func (h MambaHeads) blocks() int { return (h.Heads/h.Groups + h.together() - 1) / h.together() }

// Mamba is a Mamba-2 layer over a packed batch of T tokens (Dao, Gu 2024, "Transformers are SSMs"). For every sequence
// and head, with its group's b and c, from S = 0 (HeadDim, State):
//
//	S = exp(dt·A)·S + (dt·x)·bᵀ
//	y = S·c + D·x
type Mamba struct {
	Heads  MambaHeads
	X      []float32 // (T, Heads·HeadDim)
	B, C   []float32 // (T, Groups·State)
	DT     []float32 // (T, Heads) the time that passes at a token, at least 0
	A, D   []float32 // (Heads) frozen; A is at most 0
	Bounds []int32   // sequence s is tokens Bounds[s] to Bounds[s+1]-1

	// of the call in progress
	y, dy, starts, state, sums []float32
	grads                      MambaGradients
}

// MambaGradients are those of the arguments of a Mamba of the same names, which Backward adds to.
type MambaGradients struct{ X, B, C, DT []float32 }

// StartsLen is the number of values of the states at the starts of all chunks.
func (m *Mamba) StartsLen() int { return allChunks(m.Bounds) * m.Heads.StateLen() }

// Forward computes y (T, Heads·HeadDim). starts gets the states at the starts of the chunks, for Backward; nil: they
// are not kept.
func (m *Mamba) Forward(y, starts []float32) {
	m.check(len(y))
	check(starts == nil || len(starts) == m.StartsLen(), "Mamba: memory for states does not fit")
	m.y, m.starts = y, starts
	divide(m.parts(), m.work(), (*mambaForward)(m))
	m.y, m.starts = nil, nil
}

// Continue computes y for the one sequence of the batch, which goes on from a state, and makes it the state after it.
func (m *Mamba) Continue(y, state []float32) {
	m.check(len(y))
	check(len(state) == m.Heads.StateLen() && len(m.Bounds) == 2, "Mamba: state does not fit")
	m.y, m.state = y, state
	if m.Bounds[1]-m.Bounds[0] <= fewRows {
		divide(m.Heads.Heads, m.work(), (*mambaSteps)(m))
	} else {
		divide(m.parts(), m.work(), (*mambaForward)(m))
	}
	m.y, m.state = nil, nil
}

// SumsLen is the number of values that Backward needs for gradients of B and C that several parts have to be added up
// for.
func (m *Mamba) SumsLen() int {
	if m.Heads.blocks() == 1 {
		return 0
	}
	return 2 * m.Heads.blocks() * len(m.B)
}

// Backward adds to grads, given the gradient of y, the states that Forward kept, and memory for SumsLen values.
func (m *Mamba) Backward(grads MambaGradients, dy, starts, sums []float32) {
	m.check(len(dy))
	check(len(starts) == m.StartsLen() && len(sums) == m.SumsLen(), "Mamba: states do not fit")
	check(len(grads.X) == len(m.X) && len(grads.B) == len(m.B) && len(grads.C) == len(m.C) &&
		len(grads.DT) == len(m.DT), "Mamba: gradients do not fit")
	m.grads, m.dy, m.starts, m.sums = grads, dy, starts, sums
	divide(m.parts(), 3*m.work(), (*mambaBackward)(m))
	if len(sums) > 0 {
		divide(allChunks(m.Bounds), len(sums), (*mambaSums)(m))
	}
	m.grads, m.dy, m.starts, m.sums = MambaGradients{}, nil, nil, nil
}

func (m *Mamba) check(y int) {
	h, rows := m.Heads, int(m.Bounds[len(m.Bounds)-1])
	check(h.Groups > 0 && h.Heads%h.Groups == 0, "Mamba: heads are no multiple of the groups")
	check(len(m.X) == rows*h.Heads*h.HeadDim && y == len(m.X), "Mamba: inputs do not fit the bounds")
	check(len(m.B) == rows*h.Groups*h.State && len(m.C) == len(m.B), "Mamba: B and C do not fit the bounds")
	check(len(m.DT) == rows*h.Heads && len(m.A) == h.Heads && len(m.D) == h.Heads, "Mamba: times do not fit")
}

// parts is the number of sequences times that of blocks of heads.
func (m *Mamba) parts() int { return (len(m.Bounds) - 1) * m.Heads.Groups * m.Heads.blocks() }

func (m *Mamba) work() int { return 2 * len(m.X) * m.Heads.State }

// width and groupWidth are how far apart rows are, of X and of B.
func (m *Mamba) width() int      { return m.Heads.Heads * m.Heads.HeadDim }
func (m *Mamba) groupWidth() int { return m.Heads.Groups * m.Heads.State }

// ofHead is x, inputs, results or their gradients, from token t of a head on.
func (m *Mamba) ofHead(x []float32, t, head int) []float32 {
	return x[t*m.width()+head*m.Heads.HeadDim:]
}

// ofGroup is B, C or their gradients from token t of a group on.
func (m *Mamba) ofGroup(x []float32, t, group int) []float32 {
	return x[t*m.groupWidth()+group*m.Heads.State:]
}

// mambaSteps is the recurrence, one head a part.
type mambaSteps Mamba

func (m *mambaSteps) part(head int, _ *scratch) {
	n, h := (*Mamba)(m), m.Heads
	group, size := head/(h.Heads/h.Groups), h.HeadDim*h.State
	state := m.state[head*size : (head+1)*size]
	for t := int(m.Bounds[0]); t < int(m.Bounds[1]); t++ {
		b, c := n.ofGroup(m.B, t, group)[:h.State], n.ofGroup(m.C, t, group)[:h.State]
		dt := m.DT[t*h.Heads+head]
		keep := float32(math.Exp(float64(dt) * float64(m.A[head])))
		y := n.ofHead(m.y, t, head)
		for j, x := range n.ofHead(m.X, t, head)[:h.HeadDim] {
			row := state[j*h.State : (j+1)*h.State]
			kernels.Scale(keep, row)
			kernels.Axpy(dt*x, b, row)
			y[j] = kernels.Dot(row, c) + m.D[head]*x
		}
	}
}
