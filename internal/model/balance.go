package model

import "github.com/peftconv/peftconv/internal/batch"

// Balance asks a pass for the load-balance loss of the routers (Fedus et al. 2021, "Switch Transformers") and gets its
// value.
type Balance struct {
	// Coefficient is what the mean of the layers' losses is multiplied with where it is added to the mean loss of the
	// batch's targets: router_aux_loss_coef of transformers.
	Coefficient float64

	layers []float64 // of each layer, 0 where it does not route
}

// Mean is the mean over the layers that route of the last pass: as many as the experts that a token visits where all
// are visited equally, and more where some are preferred. See autograd.Routing.
func (b *Balance) Mean() float64 {
	sum, n := 0.0, 0
	for _, loss := range b.layers {
		if loss > 0 {
			sum, n = sum+loss, n+1
		}
	}
	return sum / float64(max(n, 1))
}

// Routers is the number of layers with experts.
func (m *Model) Routers() int {
	n := 0
	for _, l := range m.Layers {
		if l.Spec.Experts.Count > 0 {
			n++
		}
	}
	return n
}

// balances prepares a pass for the loss of its routers, scale being that of the batch's loss.
func (p *pass) balances(balance *Balance, b *batch.Batch, scale float32) {
	if balance == nil || balance.Coefficient == 0 {
		return
	}
	p.auxLoss = float32(balance.Coefficient) * scale * float32(b.TargetCount()) / float32(max(p.Routers(), 1))
	if balance.layers == nil {
		balance.layers = make([]float64, len(p.Layers))
	}
	p.balance = balance
}
