package model

import (
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/autograd"
)

// experts is a mixture of experts on the normed stream n, with the expert that all tokens visit.
func (p *pass) experts(l *Layer, n *autograd.Tensor) *autograd.Tensor {
	y := p.routed(l, n, n)
	if l.Spec.Experts.Shared > 0 {
		y = p.tape.Add(y, p.sharedExpert(l, n))
	}
	return y
}

// routed is what the chosen experts make of n; r is what the router chooses by.
func (p *pass) routed(l *Layer, r, n *autograd.Tensor) *autograd.Tensor {
	t := p.tape
	router := l.router()
	router.AuxLoss = p.auxLoss
	route := t.Route(p.linear(l.Linear(arch.Router), r), router)
	if p.balance != nil {
		p.balance.layers[l.Index] = route.Balance // the same when a layer is computed again
	}
	gates, ups, downs := l.Experts(arch.ExpertGate), l.Experts(arch.ExpertUp), l.Experts(arch.ExpertDown)
	outputs := make([]*autograd.Tensor, len(downs))
	for e := range downs {
		if len(route.Tokens(e)) == 0 {
			continue
		}
		var gate *Linear
		if gates != nil {
			gate = gates[e]
		}
		outputs[e] = p.linear(downs[e], p.inner(l, gate, ups[e], t.Gather(n, route, e)))
	}
	return t.Combine(route, outputs)
}

// router is how the layer's experts are chosen.
func (l *Layer) router() autograd.Router {
	s := &l.Spec.Experts
	return autograd.Router{
		Gating: autograd.Gating(s.Gating), Used: s.Used, Bias: l.vectors[arch.SelectionBias],
		Groups: s.Groups, GroupsUsed: s.GroupsUsed, Norm: s.Norm, Scale: s.Scale,
		Scales: l.vectors[arch.ExpertScale],
	}
}

// sharedExpert is what the expert that all tokens visit makes of n, weighted where it has a router.
func (p *pass) sharedExpert(l *Layer, n *autograd.Tensor) *autograd.Tensor {
	y := p.linear(l.Linear(arch.SharedDown), p.inner(l, l.Linear(arch.SharedGate), l.Linear(arch.SharedUp), n))
	if router := l.Linear(arch.SharedRouter); router != nil {
		y = p.tape.SigmoidGate(y, p.linear(router, n))
	}
	return y
}

// expertsBeside is a mixture of experts beside a dense network, each with norms of its own; x is the stream, n its norm
// before the dense network.
func (p *pass) expertsBeside(l *Layer, x, n *autograd.Tensor) *autograd.Tensor {
	t := p.tape
	dense := p.norm(t, l.Norm(arch.FFNPostNorm1), p.dense(l, n), p.hooks)
	r := t.GroupRMSNorm(x, l.routerScale, x.Cols, p.Spec.NormEps)
	sparse := p.routed(l, r, p.norm(t, l.Norm(arch.ExpertsNorm), x, p.hooks))
	return t.Add(dense, p.norm(t, l.Norm(arch.ExpertsPostNorm), sparse, p.hooks))
}
