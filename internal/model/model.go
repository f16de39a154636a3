package model

import (
	"strconv"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/quant"
)

// Linear is one frozen linear map y = x·Wᵀ + Bias.
type Linear struct {
	Module        string       // HF's name: "model.layers.0.self_attn.q_proj"
	Tensor        string       // the weight's name in the file: "blk.0.attn_q.weight"
	W             quant.Matrix // (out, in), a view of the file
	Bias          []float32    // (out) or nil
	PermutedHeads int          // > 0: the file stores the rows of this many heads permuted for interleaved RoPE
}

// Norm is one RMS norm.
type Norm struct {
	Module string           // HF's name: "model.layers.0.input_layernorm"
	Tensor string           // the weight's name in the file: "blk.0.attn_norm.weight"
	W      *autograd.Tensor // (1, D)
}

// Layer is one block of the decoder.
type Layer struct {
	Index             int // from 0
	AttnNorm, FFNNorm *Norm
	Q, K, V, O        *Linear
	Gate, Up, Down    *Linear
}

// Linears are the layer's linear maps in the order in which they run.
func (l *Layer) Linears() []*Linear {
	return []*Linear{l.Q, l.K, l.V, l.O, l.Gate, l.Up, l.Down}
}

// Model is a decoder over weights that stay where they are. It is valid as long as the file it was made from.
// Its methods may run on several tapes, one at a time.
type Model struct {
	Spec   Spec
	Embed  quant.Matrix // (V, D)
	Layers []*Layer
	Norm   *Norm
	Head   quant.Matrix // (V, D); Embed where the two are tied

	rope *autograd.RopeTable
	ends []*Linear // embedding and head
}

// Linears are all linear maps of all layers, in order.
func (m *Model) Linears() []*Linear {
	var all []*Linear
	for _, layer := range m.Layers {
		all = append(all, layer.Linears()...)
	}
	return all
}

// Matrices are all weights that products or lookups use: the linear maps of the layers, the embedding table as
// "model.embed_tokens" and, unless it is the same, the output head as "lm_head".
func (m *Model) Matrices() []*Linear { return append(m.Linears(), m.ends...) }

// Norms are all norms, in the order in which they run.
func (m *Model) Norms() []*Norm {
	var all []*Norm
	for _, layer := range m.Layers {
		all = append(all, layer.AttnNorm, layer.FFNNorm)
	}
	return append(all, m.Norm)
}

// Parameters is the number of weights, tied ones counted once.
func (m *Model) Parameters() int64 {
	n := int64(m.Embed.Rows) * int64(m.Embed.Cols)
	if !m.Spec.Tied {
		n += int64(m.Head.Rows) * int64(m.Head.Cols)
	}
	n += int64(m.Norm.W.Cols)
	for _, layer := range m.Layers {
		n += int64(layer.AttnNorm.W.Cols + layer.FFNNorm.W.Cols)
		for _, l := range layer.Linears() {
			n += int64(l.W.Rows)*int64(l.W.Cols) + int64(len(l.Bias))
		}
	}
	return n
}

// ActivationBytes is about what the insides of all layers take for a batch of so many tokens when a tape keeps them,
// adapters aside.
func (m *Model) ActivationBytes(tokens int) int64 {
	s := &m.Spec
	query, key := s.QueryHeads*s.HeadDim, s.KeyHeads*s.HeadDim
	floats := 7*s.Width + 2*query + 2*key + s.QueryHeads + 3*s.FFN
	return int64(s.Layers) * int64(tokens) * int64(floats) * 4
}

// finish makes what follows from the Spec.
func (m *Model) finish() {
	r := m.Spec.Rope
	m.rope = autograd.NewRopeTable(r.Dim, r.Base, r.Scale, r.Factors, r.Neox)
}

func (m *Model) heads() autograd.Heads {
	s := &m.Spec
	return autograd.Heads{Queries: s.QueryHeads, Keys: s.KeyHeads, Dim: s.HeadDim, Scale: scoreScale(s.HeadDim)}
}

// moduleNames are HF's names of a layer's linear maps, in the order of Layer.Linears.
var moduleNames = [7]string{
	"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
	"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
}

func modulePath(layer int, name string) string {
	return "model.layers." + strconv.Itoa(layer) + "." + name
}
