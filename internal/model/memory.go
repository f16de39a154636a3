package model

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
)

// ActivationBytes is about what the insides of all layers take for a batch of so many tokens when a tape keeps them,
// adapters aside.
func (m *Model) ActivationBytes(tokens int) int64 {
	floats := m.outside()
	for i := range m.Layers {
		floats += m.activations(i)
	}
	return int64(tokens) * int64(floats) * 4
}

// LayerBytes is about what the insides of those layers take that are computed at once and take most.
func (m *Model) LayerBytes(tokens int) int64 {
	most := 0
	for i := 0; i < len(m.Layers); {
		sum := 0
		for end := i + m.together(i); i < end; i++ {
			sum += m.activations(i)
		}
		most = max(most, sum)
	}
	return int64(tokens) * int64(most+m.outside()) * 4
}

// ForwardBytes is about what a forward pass over so many tokens takes that no backward follows.
func (m *Model) ForwardBytes(tokens int) int64 {
	const streams = 3 // what goes into a layer, what comes out, a copy
	return m.LayerBytes(tokens) + streams*int64(tokens)*int64(m.Spec.Width)*4
}

// SessionBytes is what the keys and values of a session of so many tokens take, in a type.
func (m *Model) SessionBytes(kind gguf.Type, size int) int64 {
	values := 0
	for _, l := range m.Layers {
		values += l.KeyWidth() + l.ValueWidth()
	}
	return int64(size) * int64(values) * int64(kind.BlockSize()) / int64(kind.BlockLen())
}

// outside is the results of the second embedding, of all layers, in values a token.
func (m *Model) outside() int { return 7 * m.Spec.LayerEmbedding * m.Spec.Layers }

// activations are the results of the operations of layer i, in values a token.
func (m *Model) activations(i int) int {
	l, width := m.Layers[i], m.Spec.Width
	n := width // the copy of the result
	for _, w := range l.linearList {
		if w.Role.Kind() != arch.Experts {
			n += w.W.Rows
		}
	}
	for _, norm := range l.normList {
		n += m.normed(l, norm)
	}
	if m.Spec.BareNorms {
		n += 2 * width
	}
	for _, p := range []Part{Attention, FFN} {
		if l.Has(p) {
			if n += width; m.Spec.ResidualScale != 0 {
				n += width
			}
		}
	}
	switch l.Spec.Mixer {
	case arch.SelfAttention:
		n += l.attentionActivations()
	case arch.DeltaNet:
		d := &l.Spec.Delta
		inner := d.ValueHeads * d.ValueDim
		n += 2*d.Channels() + 2*d.KeyHeads*d.KeyDim + 4*d.ValueHeads + 2*inner + inner*d.KeyDim/chunk
	case arch.Mamba2:
		s := &l.Spec.Mamba
		n += 3*s.Inner() + 3*s.Channels() + 2*s.Heads + s.Inner()*s.State/chunk
	case arch.ShortConv:
		n += 6 * width
	}
	if m.Spec.LayerEmbedding > 0 {
		n += 2*m.Spec.LayerEmbedding + width
	}
	if l.vectors[arch.LayerScale] != nil {
		n += width
	}
	return n + m.feedActivations(l)
}

// chunk is the tokens after which a recurrence keeps its state.
const chunk = 64

// normed is the width of what a norm gives.
func (m *Model) normed(l *Layer, n *Norm) int {
	switch n.Role {
	case arch.QueryNorm:
		return arch.DimQuery.Of(&m.Spec, l.Index)
	case arch.KeyNorm:
		return arch.DimKey.Of(&m.Spec, l.Index)
	case arch.RecurrentNorm:
		return arch.DimRecurrentInner.Of(&m.Spec, l.Index)
	}
	return n.W.Cols
}

// attentionActivations are the results of attention beside those of its linear maps and norms.
func (l *Layer) attentionActivations() int {
	s := l.Spec
	query, key := s.QueryHeads*s.HeadDim, s.KeyHeads*s.HeadDim
	attended, value := s.QueryHeads*s.Values(), s.KeyHeads*s.Values()
	n := attended + s.QueryHeads
	switch {
	case l.linears[arch.QKV] != nil:
		n += query + key + value
	case s.GatedQuery:
		n += 2*query + attended
	case l.linears[arch.AttentionGate] != nil:
		n += attended
	}
	if s.Temperature.Beta != 0 {
		n += query
	}
	if s.Clamp != 0 {
		n += query + key + value
	}
	if s.NormValues && s.KeysFrom == 0 {
		n += value
	}
	if s.Latent.Rank > 0 {
		// the parts of the latent ones, and keys and values made of them
		n += s.Latent.Rank + s.Latent.Rope + s.QueryHeads*(s.Latent.Nope+s.Latent.Value+s.Latent.Rope) + key
	}
	if l.linears[arch.QKV] == nil && l.linears[arch.Value] == nil && s.KeysFrom == 0 && s.Latent.Rank == 0 {
		n += value
	}
	return n
}

// feedActivations are the results of a feed-forward network beside those of its linear maps and norms; of experts all
// results, as many as a token visits.
func (m *Model) feedActivations(l *Layer) int {
	s, width := l.Spec, m.Spec.Width
	n := s.FFN
	if l.linears[arch.GateUp] != nil {
		n += 2 * s.FFN
	}
	e := &s.Experts
	if e.Count == 0 {
		return n
	}
	maps := 0
	for _, r := range []arch.Role{arch.ExpertGate, arch.ExpertUp, arch.ExpertDown} {
		if l.experts[r] != nil {
			maps += l.experts[r][0].W.Rows
		}
	}
	n += e.Used*(width+maps+e.FFN+4) + width // gathered, computed, gated and combined
	if e.Beside {
		n += 2 * width
	}
	if e.Shared > 0 {
		n += e.Shared + 2*width
	}
	return n
}
