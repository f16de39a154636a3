package kernels

import (
	"math"

	"github.com/peftconv/peftconv/internal/freelist"
)

// AdamW is the optimizer of Loshchilov and Hutter with PyTorch's conventions: the weight decay is taken
// off first, and epsilon is added to the bias-corrected root. AdamW holds what is the same for all
// parameters; Step counts from 1.
type AdamW struct {
	LR, Beta1, Beta2, Eps, WeightDecay float32
	Step                               int
}

// Update makes one step on the parameters p with the gradients g; m and v are the running means of the
// gradient and of its square, zero before the first step:
//
//	for i := range p {
//		m[i] = Beta1*m[i] + (1-Beta1)*g[i]
//		v[i] = Beta2*v[i] + (1-Beta2)*g[i]*g[i]
//		p[i] *= 1 - LR*WeightDecay
//		p[i] -= LR * (m[i]/(1-Beta1^Step)) / (sqrt(v[i]/(1-Beta2^Step)) + Eps)
//	}
func (o AdamW) Update(p, g, m, v []float32) {
	if len(g) != len(p) || len(m) != len(p) || len(v) != len(p) {
		panic("kernels: AdamW.Update of slices of different lengths")
	}
	u := adamwUpdates.Get()
	if u.task == nil {
		u.task = u.piece
	}
	u.p, u.g, u.m, u.v, u.c = p, g, m, v, o.coefficients()
	Parallel(ceilDiv(len(p), adamwPiece), u.task)
	u.p, u.g, u.m, u.v = nil, nil, nil, nil
	adamwUpdates.Put(u)
}

// adamwPiece is how many parameters a task updates.
const adamwPiece = 1 << 14

// adamwUpdate is one Update in progress.
type adamwUpdate struct {
	p, g, m, v []float32
	c          adamwCoefficients
	task       func(i int) // piece, bound once
}

var adamwUpdates freelist.List[adamwUpdate]

func (u *adamwUpdate) piece(i int) {
	i0, i1 := i*adamwPiece, min(len(u.p), (i+1)*adamwPiece)
	n := i0 + whole(i1-i0)
	adamw(u.p[i0:n], u.g[i0:n], u.m[i0:n], u.v[i0:n], &u.c)
	adamwGeneric(u.p[n:i1], u.g[n:i1], u.m[n:i1], u.v[n:i1], &u.c)
}

// adamwCoefficients are the constants of one step. Assembly reads them by their order.
type adamwCoefficients struct {
	beta1, oneMinusBeta1 float32
	beta2, oneMinusBeta2 float32
	decay                float32 // 1 - LR*WeightDecay
	step                 float32 // LR / (1-Beta1^Step)
	root                 float32 // 1 / sqrt(1-Beta2^Step)
	eps                  float32
}

func (o AdamW) coefficients() adamwCoefficients {
	lr, b1, b2 := float64(o.LR), float64(o.Beta1), float64(o.Beta2)
	return adamwCoefficients{
		beta1: o.Beta1, oneMinusBeta1: float32(1 - b1),
		beta2: o.Beta2, oneMinusBeta2: float32(1 - b2),
		decay: float32(1 - lr*float64(o.WeightDecay)),
		step:  float32(lr / (1 - math.Pow(b1, float64(o.Step)))),
		root:  float32(1 / math.Sqrt(1-math.Pow(b2, float64(o.Step)))),
		eps:   o.Eps,
	}
}

func adamwGeneric(p, g, m, v []float32, c *adamwCoefficients) {
	g, m, v = g[:len(p)], m[:len(p)], v[:len(p)]
	for i, d := range g {
		m[i] = c.beta1*m[i] + c.oneMinusBeta1*d
		v[i] = c.beta2*v[i] + c.oneMinusBeta2*d*d
		root := float32(math.Sqrt(float64(v[i])))*c.root + c.eps
		p[i] = p[i]*c.decay - c.step*m[i]/root
	}
}
