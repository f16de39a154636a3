package model

import (
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/recurrent"
)

// state is what a session keeps of a layer that mixes tokens by a recurrence or a convolution.
type state struct {
	conv []float32 // (taps-1, channels) the last inputs of the convolution
	sums []float32 // the state of the recurrence
}

// newState is the state of a layer before the first token.
func (l *Layer) newState() state {
	d, m := &l.Spec.Delta, &l.Spec.Mamba
	switch l.Spec.Mixer {
	case arch.DeltaNet:
		return state{make([]float32, (d.Taps-1)*d.Channels()), make([]float32, d.ValueHeads*d.ValueDim*d.KeyDim)}
	case arch.Mamba2:
		return state{make([]float32, (m.Taps-1)*m.Channels()), make([]float32, m.Inner()*m.State)}
	case arch.ShortConv:
		return state{conv: make([]float32, (l.Spec.Taps-1)*l.Linear(arch.ConvOut).W.Cols)}
	}
	return state{}
}

// stateOf is the state of a layer, empty where whole sequences are at work.
func (p *pass) stateOf(l *Layer) state {
	if p.session == nil {
		return state{}
	}
	return p.session.states[l.Index]
}

// deltaNet is a gated delta net (Yang et al. 2024) on the normed stream n.
func (p *pass) deltaNet(l *Layer, n *autograd.Tensor) *autograd.Tensor {
	t, d, st := p.tape, &l.Spec.Delta, p.stateOf(l)
	mixed := t.CausalConv(p.linear(l.Linear(arch.RecurrentQKV), n), l.vectors[arch.RecurrentConv], nil, d.Taps, true,
		p.bounds, st.conv)
	z := p.linear(l.Linear(arch.RecurrentGate), n)
	keys := d.KeyHeads * d.KeyDim
	q := t.L2Norm(t.Split(mixed, 0, keys), d.KeyDim, p.Spec.NormEps)
	k := t.L2Norm(t.Split(mixed, keys, 2*keys), d.KeyDim, p.Spec.NormEps)
	v := t.Split(mixed, 2*keys, mixed.Cols)
	beta, alpha := p.betaAlpha(l, n)
	decay := t.DeltaDecay(alpha, l.vectors[arch.RecurrentTimeBias], l.vectors[arch.RecurrentDecay])
	o := t.GatedDeltaNet(q, k, v, decay, t.Sigmoid(beta), recurrent.DeltaHeads{
		KeyHeads: d.KeyHeads, ValueHeads: d.ValueHeads, KeyDim: d.KeyDim, ValueDim: d.ValueDim, Grouped: d.Grouped,
	}, p.bounds, st.sums)
	o = t.Gated(autograd.SiLUGate, z, p.norm(t, l.Norm(arch.RecurrentNorm), o, p.hooks))
	return p.linear(l.Linear(arch.RecurrentOut), o)
}

// betaAlpha are what the write strength and the decay of each value head are made of.
func (p *pass) betaAlpha(l *Layer, n *autograd.Tensor) (beta, alpha *autograd.Tensor) {
	both := l.Linear(arch.RecurrentBetaAlpha)
	if both == nil {
		return p.linear(l.Linear(arch.RecurrentBeta), n), p.linear(l.Linear(arch.RecurrentAlpha), n)
	}
	d := &l.Spec.Delta
	y, share := p.linear(both, n), d.ValueHeads/d.KeyHeads
	return p.tape.SplitHeads(y, d.KeyHeads, 0, share), p.tape.SplitHeads(y, d.KeyHeads, share, 2*share)
}

// mamba is Mamba-2 (Dao, Gu 2024) on the normed stream n.
func (p *pass) mamba(l *Layer, n *autograd.Tensor) *autograd.Tensor {
	t, s, st := p.tape, &l.Spec.Mamba, p.stateOf(l)
	in := p.linear(l.Linear(arch.RecurrentIn), n)
	inner, channels, state := s.Inner(), s.Channels(), s.Groups*s.State
	z := t.Split(in, 0, inner)
	mixed := t.CausalConv(t.Split(in, inner, inner+channels), l.vectors[arch.RecurrentConv],
		l.vectors[arch.RecurrentConvBias], s.Taps, true, p.bounds, st.conv)
	dt := t.Softplus(t.Split(in, inner+channels, in.Cols), l.vectors[arch.RecurrentTimeBias])
	y := t.Mamba2(t.Split(mixed, 0, inner), t.Split(mixed, inner, inner+state), t.Split(mixed, inner+state, channels), dt,
		l.vectors[arch.RecurrentDecay], l.vectors[arch.RecurrentSkip],
		recurrent.MambaHeads{Heads: s.Heads, HeadDim: s.HeadDim, Groups: s.Groups, State: s.State}, p.bounds, st.sums)
	y = p.norm(t, l.Norm(arch.RecurrentNorm), t.Gated(autograd.SiLUGate, z, y), p.hooks)
	return p.linear(l.Linear(arch.RecurrentOut), y)
}

// shortConv is a gated short convolution on the normed stream n: of the inputs b, c and x it is c times the convolution
// of b·x.
func (p *pass) shortConv(l *Layer, n *autograd.Tensor) *autograd.Tensor {
	t := p.tape
	in := p.linear(l.Linear(arch.ConvIn), n)
	d := in.Cols / 3
	b, c, x := t.Split(in, 0, d), t.Split(in, d, 2*d), t.Split(in, 2*d, 3*d)
	y := t.CausalConv(t.Gated(autograd.LinearGate, b, x), l.vectors[arch.ConvKernel], nil, l.Spec.Taps, false, p.bounds,
		p.stateOf(l).conv)
	return p.linear(l.Linear(arch.ConvOut), t.Gated(autograd.LinearGate, c, y))
}
