package model

import (
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/autograd"
)

// pass is the decoder at work on the tokens of whole sequences, or on new ones of a session.
type pass struct {
	*Model
	tape    *autograd.Tape
	hooks   Hooks
	bounds  []int32   // of the sequences; of a session's new tokens as one
	pos     []int32   // of the tokens
	turning []int32   // pass.turns, once it was asked for
	gains   []float32 // pass.temperatures, once they were asked for
	session *Session  // nil: whole sequences

	shared map[int]keysValues // of layers whose keys and values others read
	again  *autograd.Tensor   // (T, Layers·n) second embedding of the tokens, or nil

	balance *Balance // gets the load-balance losses, or nil
	auxLoss float32  // the weight of one layer's
}

// keysValues are the keys, turned, and the values of a layer.
type keysValues struct{ keys, values *autograd.Tensor }

// layerPass is some layers at work: one, or several of which the later ones read the keys and values of earlier ones.
type layerPass struct {
	*pass
	layers []*Layer
}

// Run implements autograd.Subgraph.
func (p *layerPass) Run(x *autograd.Tensor) *autograd.Tensor {
	if p.session != nil {
		p.session.inputs.forget()
	}
	for _, l := range p.layers {
		x = p.layer(l, x)
	}
	return x
}

// together is the number of layers from layer i on that have to run in one checkpoint.
func (m *Model) together(i int) int {
	for j := i; j < len(m.Layers); j++ {
		if from := m.Layers[j].Spec.KeysFrom; from > 0 && from-1 <= i {
			return len(m.Layers) - i
		}
	}
	return 1
}

// layer is one block: the stream x (T, D) with what its mixer and its feed-forward network add.
func (p *pass) layer(l *Layer, x *autograd.Tensor) *autograd.Tensor {
	t, h := p.tape, p.hooks
	if l.Spec.Parallel {
		return p.parallel(l, x)
	}
	if l.Spec.Mixer != arch.NoMixer {
		n := p.norm(t, l.Norm(arch.AttentionNorm), x, h)
		x = p.add(l, Attention, x, n, p.mix(l, n))
	}
	if l.Spec.FFN > 0 || l.Spec.Experts.Count > 0 {
		n := p.norm(t, l.Norm(arch.FFNNorm), x, h)
		x = p.add(l, FFN, x, n, p.feed(l, x, n))
	}
	return p.finish(l, x)
}

// before is the norm before the mixer, nil where there is none.
func (l *Layer) before() *Norm {
	if n := l.Norm(arch.AttentionNorm); n != nil || !l.Spec.Parallel {
		return n
	}
	return l.Norm(arch.FFNNorm)
}

// parallel is a block whose feed-forward network reads the stream before the mixer.
func (p *pass) parallel(l *Layer, x *autograd.Tensor) *autograd.Tensor {
	t, h := p.tape, p.hooks
	before, beforeFFN := l.before(), l.Norm(arch.FFNNorm)
	n := p.norm(t, before, x, h)
	f := n
	if beforeFFN != nil && beforeFFN != before {
		f = p.norm(t, beforeFFN, x, h)
	}
	y := p.added(l, FFN, x, f, p.feed(l, x, f))
	x = p.add(l, Attention, x, n, p.mix(l, n))
	return p.finish(l, h.Stream(t, l, FFN, t.Add(x, y)))
}

// added is what a part adds to the stream x, y being what it made of the normed stream n.
func (p *pass) added(l *Layer, part Part, x, n, y *autograd.Tensor) *autograd.Tensor {
	post := arch.AttentionPostNorm
	if part == FFN {
		post = arch.FFNPostNorm
	}
	y = scaled(p.tape, p.norm(p.tape, l.Norm(post), y, p.hooks), p.Spec.ResidualScale)
	return p.hooks.Part(p.tape, l, part, x, n, y)
}

// add is the stream with what a part adds.
func (p *pass) add(l *Layer, part Part, x, n, y *autograd.Tensor) *autograd.Tensor {
	return p.hooks.Stream(p.tape, l, part, p.tape.Add(x, p.added(l, part, x, n, y)))
}

// mix is the mixer of tokens of a layer on the normed stream.
func (p *pass) mix(l *Layer, n *autograd.Tensor) *autograd.Tensor {
	switch l.Spec.Mixer {
	case arch.DeltaNet:
		return p.deltaNet(l, n)
	case arch.Mamba2:
		return p.mamba(l, n)
	case arch.ShortConv:
		return p.shortConv(l, n)
	}
	return p.attention(l, n)
}

// feed is the feed-forward network of a layer on the normed stream n; x is the stream.
func (p *pass) feed(l *Layer, x, n *autograd.Tensor) *autograd.Tensor {
	switch {
	case l.Spec.Experts.Count == 0:
		return p.dense(l, n)
	case l.Spec.Experts.Beside:
		return p.expertsBeside(l, x, n)
	}
	return p.experts(l, n)
}

// dense is a dense feed-forward network.
func (p *pass) dense(l *Layer, n *autograd.Tensor) *autograd.Tensor {
	t := p.tape
	var y *autograd.Tensor
	if fused := l.Linear(arch.GateUp); fused != nil {
		both := p.linear(fused, n)
		y = p.gated(l, t.Split(both, 0, both.Cols/2), t.Split(both, both.Cols/2, both.Cols))
	} else {
		y = p.inner(l, l.Linear(arch.Gate), l.Linear(arch.Up), n)
	}
	return p.linear(l.Linear(arch.Down), p.norm(t, l.Norm(arch.FFNSubNorm), y, p.hooks))
}

// inner is what a network of the layer has before its down-projection; gate may be nil.
func (p *pass) inner(l *Layer, gate, up *Linear, n *autograd.Tensor) *autograd.Tensor {
	if gate == nil {
		return p.gated(l, p.linear(up, n), nil)
	}
	p.ahead(n, gate, up)
	return p.gated(l, p.linear(gate, n), p.linear(up, n))
}

// gated is the activation of a feed-forward network, times the up-projection where there is a gate.
func (p *pass) gated(l *Layer, x, up *autograd.Tensor) *autograd.Tensor {
	t, kind := p.tape, gatedBy(l)
	if _, ok := p.hooks.(RuntimeActivations); ok && kind == autograd.GELUGate {
		if x = tableGELU(t, x); up == nil {
			return x
		}
		kind = autograd.LinearGate
	}
	if up == nil {
		return t.Ungated(kind, x)
	}
	return t.Gated(kind, x, up)
}

// gatedBy is what the gate of a feed-forward network, or the network without one, goes through.
func gatedBy(l *Layer) autograd.GLU {
	switch l.Spec.Activation {
	case arch.GELU:
		return autograd.GELUGate
	case arch.GELUErf:
		return autograd.ErfGate
	case arch.ReLU2:
		return autograd.ReLU2Gate
	case arch.OAI:
		return autograd.OAIGate
	}
	return autograd.SiLUGate
}

// finish is the stream after a layer: with the layer's part of the second embedding, scaled.
func (p *pass) finish(l *Layer, x *autograd.Tensor) *autograd.Tensor {
	t := p.tape
	if p.again != nil {
		n := p.Spec.LayerEmbedding
		y := p.gated(l, p.linear(l.Linear(arch.LayerEmbeddingGate), x),
			t.Split(p.again, l.Index*n, (l.Index+1)*n))
		y = p.linear(l.Linear(arch.LayerEmbeddingUp), y)
		x = t.Add(x, p.norm(t, l.Norm(arch.LayerEmbeddingPost), y, p.hooks))
	}
	if scale := l.vectors[arch.LayerScale]; scale != nil {
		x = scaled(t, x, scale[0])
	}
	return x
}

// linear is a linear map of the model at work.
func (p *pass) linear(l *Linear, x *autograd.Tensor) *autograd.Tensor {
	if y := p.session.linear(l, x, p.hooks); y != nil {
		return y
	}
	return linear(p.tape, l, x, p.hooks)
}
