package model

import (
	"math"
	"slices"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/autograd"
)

// attention is self-attention of a layer on the normed stream n.
func (p *pass) attention(l *Layer, n *autograd.Tensor) *autograd.Tensor {
	t, s := p.tape, l.Spec
	p.ahead(n, l.Linear(arch.Query), l.Linear(arch.Key), l.Linear(arch.Value), l.Linear(arch.AttentionGate))
	q, gate := p.queries(l, n)
	var kv keysValues
	if s.KeysFrom == 0 {
		kv = p.keysValues(l, n, q)
	}
	if l.Linear(arch.QKV) != nil {
		query := s.QueryHeads * s.HeadDim
		q = t.Split(q, 0, query)
	}
	q = p.turned(l, l.Norm(arch.QueryNorm), p.clamped(l, q))
	if beta := s.Temperature.Beta; beta != 0 {
		q = t.ScaleByRow(q, p.temperatures(&s.Temperature))
	}
	y := p.attend(l, q, kv)
	if gate != nil {
		y = t.SigmoidGate(y, gate)
	}
	return p.linear(l.Linear(arch.AttentionOutput), p.norm(t, l.Norm(arch.AttentionSubNorm), y, p.hooks))
}

// queries are those of a layer before norm and rotation, or with the keys and values beside them where one matrix makes
// all, and the gate of what attention gives, nil where there is none.
func (p *pass) queries(l *Layer, n *autograd.Tensor) (q, gate *autograd.Tensor) {
	t, s := p.tape, l.Spec
	switch fused, down := l.Linear(arch.QKV), l.Linear(arch.QueryDown); {
	case fused != nil:
		return p.linear(fused, n), nil
	case down != nil:
		q = p.linear(l.Linear(arch.QueryUp), p.norm(t, l.Norm(arch.QueryDownNorm), p.linear(down, n), p.hooks))
	default:
		q = p.linear(l.Linear(arch.Query), n)
	}
	if s.GatedQuery {
		return t.SplitHeads(q, s.QueryHeads, 0, s.HeadDim), t.SplitHeads(q, s.QueryHeads, s.HeadDim, 2*s.HeadDim)
	}
	if m := l.Linear(arch.AttentionGate); m != nil {
		gate = p.linear(m, n)
	}
	return q, gate
}

// keysValues are the keys, normed and turned, and the values that a layer makes of the normed stream n; q is what
// queries gave.
func (p *pass) keysValues(l *Layer, n, q *autograd.Tensor) keysValues {
	t, s := p.tape, l.Spec
	if s.Latent.Rank > 0 {
		return p.latent(l, n)
	}
	var k, v *autograd.Tensor
	switch {
	case l.Linear(arch.QKV) != nil:
		query, key := s.QueryHeads*s.HeadDim, s.KeyHeads*s.HeadDim
		k, v = t.Split(q, query, query+key), t.Split(q, query+key, q.Cols)
	case l.Linear(arch.Value) == nil: // values are keys before norm and rotation
		k = p.linear(l.Linear(arch.Key), n)
		v = t.Split(k, 0, k.Cols)
	default:
		k, v = p.linear(l.Linear(arch.Key), n), p.linear(l.Linear(arch.Value), n)
	}
	if s.NormValues {
		v = t.GroupRMSNorm(v, nil, s.Values(), p.Spec.NormEps)
	}
	return keysValues{p.turned(l, l.Norm(arch.KeyNorm), p.clamped(l, k)), p.clamped(l, v)}
}

// clamped is x within the bounds that the layer has for queries, keys and values.
func (p *pass) clamped(l *Layer, x *autograd.Tensor) *autograd.Tensor {
	if l.Spec.Clamp == 0 {
		return x
	}
	return p.tape.Clamp(x, l.Spec.Clamp)
}

// turned is queries or keys with their norm and rotary position embedding.
func (p *pass) turned(l *Layer, norm *Norm, x *autograd.Tensor) *autograd.Tensor {
	if l.Spec.NormAfterRope {
		return p.norm(p.tape, norm, p.rotated(l, x), p.hooks)
	}
	return p.rotated(l, p.norm(p.tape, norm, x, p.hooks))
}

// rotated is rotary position embedding of queries or keys.
func (p *pass) rotated(l *Layer, x *autograd.Tensor) *autograd.Tensor {
	if l.Spec.Rope.Dim == 0 {
		return x
	}
	return p.tape.Rope(x, p.turns(l), l.Spec.HeadDim, l.rope)
}

// turns are the positions that a layer turns tokens to, those of sequences that are too long for its usual angles as
// autograd.RopeTable.Long has them. Where layers have such angles they are the same in all.
func (p *pass) turns(l *Layer) []int32 {
	if l.rope.Long == nil {
		return p.pos
	}
	if p.turning != nil {
		return p.turning
	}
	pos := slices.Clone(p.pos)
	p.turning = pos
	for s := range len(p.bounds) - 1 {
		from, to := p.bounds[s], p.bounds[s+1]
		length := 0
		if from < to {
			length = int(pos[to-1]) + 1
		}
		if p.session != nil {
			length = p.session.size
		}
		for i := from; i < to && length > l.Spec.Rope.Original; i++ {
			pos[i] = -1 - pos[i]
		}
	}
	return pos
}

// temperatures are what the query of each token is multiplied with, the same in all layers.
func (p *pass) temperatures(s *arch.Temperature) []float32 {
	if p.gains == nil {
		p.gains = make([]float32, len(p.pos))
		for i, pos := range p.pos {
			p.gains[i] = float32(1 + s.Beta*math.Log(math.Floor(float64(pos)/float64(s.Length))+1))
		}
	}
	return p.gains
}

// attend is attention over the keys and values of the layer's own or of the layer that it shares them with.
func (p *pass) attend(l *Layer, q *autograd.Tensor, kv keysValues) *autograd.Tensor {
	from := l.Index
	if l.Spec.KeysFrom > 0 {
		from = l.Spec.KeysFrom - 1
	}
	if p.session != nil {
		if from != l.Index {
			kv = keysValues{}
		}
		return p.attendCached(l, from, q, kv)
	}
	if from != l.Index {
		kv = p.shared[from]
	} else if p.shared != nil {
		p.shared[l.Index] = kv
	}
	return l.attend(p.tape, p.bounds, q, kv.keys, kv.values, p.hooks)
}

// attend is attention inside each sequence, and over the keys and values that the hook puts before it.
func (l *Layer) attend(t *autograd.Tape, bounds []int32, q, k, v *autograd.Tensor, h Hooks) *autograd.Tensor {
	keys, values := h.Prefix(t, l)
	if keys == nil {
		return t.Attention(q, k, v, bounds, l.heads())
	}
	n := keys.Rows
	none := t.Tensor(n, q.Cols)
	clear(none.Data)
	q, k, v = t.Prefix(q, none, bounds), t.Prefix(k, keys, bounds), t.Prefix(v, values, bounds)
	return t.WithoutPrefix(t.Attention(q, k, v, autograd.PrefixBounds(bounds, n), l.heads()), n, bounds)
}

// heads is the attention of the layer.
func (l *Layer) heads() autograd.Heads {
	s := l.Spec
	h := autograd.Heads{
		Queries: s.QueryHeads, Keys: s.KeyHeads, Dim: s.HeadDim, ValueDim: s.ValueDim, Scale: s.ScoreScale,
		Window: s.Window, Cap: s.ScoreCap, Sinks: l.vectors[arch.Sinks], Slopes: l.slopes,
	}
	if h.Scale == 0 {
		h.Scale = float32(1 / math.Sqrt(float64(s.HeadDim)))
	}
	return h
}

// slopes are those of attention with linear biases (Press et al. 2022), nil where there are none.
func slopes(s *arch.Layer) []float32 {
	if s.ALiBi == 0 {
		return nil
	}
	x := make([]float32, s.QueryHeads)
	whole := 1 << int(math.Floor(math.Log2(float64(s.QueryHeads))))
	bias := float64(s.ALiBi)
	for h := range x {
		if h < whole {
			x[h] = float32(math.Pow(2, -bias/float64(whole)*float64(h+1)))
		} else {
			x[h] = float32(math.Pow(2, -bias/2/float64(whole)*float64(2*(h-whole)+1)))
		}
	}
	return x
}

// KeyWidth is the number of values in the keys of a token, 0 where the layer has none of its own.
func (l *Layer) KeyWidth() int {
	if l.Spec.Mixer != arch.SelfAttention || l.Spec.KeysFrom > 0 {
		return 0
	}
	return l.Spec.KeyHeads * l.Spec.HeadDim
}

// ValueWidth is the same for values.
func (l *Layer) ValueWidth() int {
	if l.KeyWidth() == 0 {
		return 0
	}
	return l.Spec.KeyHeads * l.Spec.Values()
}

// latent are the keys and values of multi-head latent attention: each head's key is a linear map of the latent ones
// with the same turned values beside it.
func (p *pass) latent(l *Layer, n *autograd.Tensor) keysValues {
	t, s := p.tape, &l.Spec.Latent
	down := p.linear(l.Linear(arch.KeyValueDown), n)
	c := p.norm(t, l.Norm(arch.KeyValueDownNorm), t.Split(down, 0, s.Rank), p.hooks)
	turning := t.Rope(t.Split(down, s.Rank, s.Rank+s.Rope), p.pos, s.Rope, l.latentRope)
	heads := l.Spec.QueryHeads
	var still, v *autograd.Tensor
	if both := l.Linear(arch.KeyValueUp); both != nil {
		y := p.linear(both, c)
		still = t.SplitHeads(y, heads, 0, s.Nope)
		v = t.SplitHeads(y, heads, s.Nope, s.Nope+s.Value)
	} else {
		still, v = t.Linear(c, &l.keyUp), t.Linear(c, &l.valueUp)
	}
	return keysValues{t.BesideHeads(still, t.RepeatHeads(turning, heads), heads), v}
}
