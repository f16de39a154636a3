package model

import (
	"math"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/store"
	"github.com/peftconv/peftconv/quant"
)

// Linear is one frozen linear map y = x·Wᵀ + Bias.
type Linear struct {
	Role   arch.Role
	Layer  int          // its number, -1 outside of the layers
	Module string       // HF's name: "model.layers.0.self_attn.q_proj"
	Tensor string       // the weight's name in the file: "blk.0.attn_q.weight"
	W      quant.Matrix // (out, in), a view of the file
	Bias   []float32    // (out) or nil
	Rows   []int32      // (out) where W has each row of the Hugging Face weight; nil: in place
	Cols   []int32      // (in) where W has each of its columns; nil: in place

	Joint    *Joint // what of Hugging Face's has its rows beside those of other maps, or nil
	Expert   int    // its number, 0 where it is not one of several experts'
	FirstRow int    // where its rows begin in the tensor, which may hold those of other maps too
	Part     bool   // the tensor holds rows of other maps too

	biasTensor string // of Bias; "": there is none
	biasRow    int    // where it begins there
}

// Norm is one norm: an RMSNorm or, where the Spec has it so, a LayerNorm.
type Norm struct {
	Role   arch.Role
	Layer  int              // its number, -1 outside of the layers
	Module string           // HF's name: "model.layers.0.input_layernorm"
	Tensor string           // the weight's name in the file: "blk.0.attn_norm.weight"
	W      *autograd.Tensor // (1, D), or (1, n) for each n columns of the input alike
	B      *autograd.Tensor // its bias, like W, or nil
	Group  int              // columns that are normed together
	Raised bool             // Hugging Face stores what is added to 1
}

// Layer is one block of the decoder.
type Layer struct {
	Index int // from 0
	Spec  *arch.Layer

	rope       *autograd.RopeTable
	latentRope *autograd.RopeTable // of the part of latent keys that turns
	slopes     []float32           // of linear biases, or nil

	keyUp, valueUp quant.Matrix     // from latent keys to keys and values
	routerScale    *autograd.Tensor // (1, D) weights of the norm before the router, or nil
	linears        [arch.Roles]*Linear
	norms          [arch.Roles]*Norm
	experts        [arch.Roles][]*Linear
	vectors        [arch.Roles][]float32
	linearList     []*Linear // in the order of the architecture's table
	normList       []*Norm
}

// Experts are the layer's linear maps of a role for each expert, nil where it has none.
func (l *Layer) Experts(r arch.Role) []*Linear { return l.experts[r] }

// Vector is the layer's numbers of a role, nil where it has none. They must be left as they are.
func (l *Layer) Vector(r arch.Role) []float32 { return l.vectors[r] }

// Linear is the layer's linear map of a role, nil where it has none.
func (l *Layer) Linear(r arch.Role) *Linear { return l.linears[r] }

// Norm is the layer's norm of a role, nil where it has none.
func (l *Layer) Norm(r arch.Role) *Norm { return l.norms[r] }

// Linears are the layer's linear maps in the order in which they run. The slice must be left as it is.
func (l *Layer) Linears() []*Linear { return l.linearList }

// Norms are the layer's norms in the order in which they run. The slice must be left as it is.
func (l *Layer) Norms() []*Norm { return l.normList }

// Has reports whether the layer has a part.
func (l *Layer) Has(p Part) bool {
	if p == FFN {
		return l.Spec.FFN > 0 || l.Spec.Experts.Count > 0
	}
	return l.Spec.Mixer != arch.NoMixer
}

func (l *Layer) setLinear(m *Linear) {
	l.linears[m.Role] = m
	l.linearList = append(l.linearList, m)
}

func (l *Layer) setExperts(maps []*Linear) {
	l.experts[maps[0].Role] = maps
	l.linearList = append(l.linearList, maps...)
}

func (l *Layer) setNorm(n *Norm) {
	l.norms[n.Role] = n
	l.normList = append(l.normList, n)
}

// Model is a decoder over weights that stay where they are. It is valid as long as the file it was made from.
// Its methods may run on several tapes, one at a time.
type Model struct {
	Spec   arch.Spec
	Arch   *arch.Arch
	HF     *arch.HFModel // the kind of model; nil where the weights are not in Hugging Face files
	Embed  quant.Matrix  // (V, D)
	Layers []*Layer
	Norm   *Norm
	Head   quant.Matrix // (V, D); Embed where the two are tied
	Bias   []float32    // (V) of the head, or nil
	Unused []string     // tensors of Hugging Face files that the architecture does not use

	positions *quant.Matrix // (context, D) embeddings of positions, or nil
	embedNorm *Norm         // of the embedded tokens, or nil
	second    *secondEmbedding
	ends      []*Linear // embedding and, unless it is the same, head
}

// Positions is how many positions have an embedding, 0 where positions are no part of the stream.
func (m *Model) Positions() int {
	if m.positions == nil {
		return 0
	}
	return m.positions.Rows
}

// Linears are all linear maps of all layers, in order.
func (m *Model) Linears() []*Linear {
	var all []*Linear
	for _, layer := range m.Layers {
		all = append(all, layer.Linears()...)
	}
	return all
}

// Ends are the matrices outside of the layers: the embedding table and, unless it is the same, the output head.
func (m *Model) Ends() []*Linear { return m.ends }

// HeadMatrix is the one of Ends that the logits are made with: the output head, or the embedding table where it is the
// head too.
func (m *Model) HeadMatrix() *Linear { return m.ends[len(m.ends)-1] }

// Matrices are all weights that products or lookups use: the linear maps of the layers, then Ends.
func (m *Model) Matrices() []*Linear { return append(m.Linears(), m.ends...) }

// Norms are all norms, in the order in which they run.
func (m *Model) Norms() []*Norm {
	var all []*Norm
	for _, layer := range m.Layers {
		all = append(all, layer.Norms()...)
	}
	if m.Spec.BareNorms {
		return all
	}
	return append(all, m.Norm)
}

// bareNorm is a norm of the stream without weights: they are 1.
func (m *Model) bareNorm(role arch.Role, layer int) *Norm {
	ones := make([]float32, m.Spec.Width)
	for i := range ones {
		ones[i] = 1
	}
	return &Norm{Role: role, Layer: layer, W: autograd.NewConst(1, len(ones), ones), Group: len(ones)}
}

// Parameters is the number of weights, tied ones counted once.
func (m *Model) Parameters() int64 {
	n := int64(0)
	for _, l := range m.Matrices() {
		n += int64(l.W.Rows)*int64(l.W.Cols) + int64(len(l.Bias))
	}
	for _, norm := range m.Norms() {
		n += int64(norm.W.Cols)
	}
	return n
}

// missing is a role of a tensor that the layer does not compute without and that the architecture has none for, or nil.
func (l *Layer) missing() *arch.Role {
	has := func(r arch.Role) bool { return l.linears[r] != nil || l.experts[r] != nil }
	var needed []arch.Role
	switch s := l.Spec; {
	case s.Mixer == arch.SelfAttention:
		needed = []arch.Role{arch.AttentionOutput}
		if !has(arch.QKV) && !has(arch.QueryUp) {
			needed = append(needed, arch.Query)
		}
		if !has(arch.QKV) && s.KeysFrom == 0 && s.Latent.Rank == 0 {
			needed = append(needed, arch.Key)
		}
	case s.Mixer == arch.DeltaNet, s.Mixer == arch.Mamba2:
		needed = []arch.Role{arch.RecurrentOut}
	case s.Mixer == arch.ShortConv:
		needed = []arch.Role{arch.ConvIn, arch.ConvOut}
	}
	if l.Spec.FFN > 0 {
		if needed = append(needed, arch.Down); !has(arch.GateUp) {
			needed = append(needed, arch.Up)
		}
	}
	if l.Spec.Experts.Count > 0 {
		needed = append(needed, arch.Router, arch.ExpertUp, arch.ExpertDown)
	}
	for _, r := range needed {
		if !has(r) {
			return &r
		}
	}
	return nil
}

// prepare makes what the layer needs of its Spec beside tensors.
func (l *Layer) prepare(m *Model) {
	l.ropes(m)
	l.slopes = slopes(l.Spec)
	if scale := l.vectors[arch.RouterScale]; scale != nil {
		w := make([]float32, len(scale))
		for i, s := range scale {
			w[i] = s / float32(math.Sqrt(float64(len(scale))))
		}
		l.routerScale = autograd.NewConst(1, len(w), w)
	}
}

// ropes makes the angles of rotary position embedding, or takes those of a layer before which turns alike.
func (l *Layer) ropes(m *Model) {
	r := l.Spec.Rope
	for _, o := range m.Layers {
		if o.Spec.Rope.Equal(&r) && (o.latentRope != nil) == (l.Spec.Latent.Rank > 0) {
			l.rope, l.latentRope = o.rope, o.latentRope
			return
		}
	}
	factors := r.Factors
	if r.Factors == nil {
		r.Factors = r.Short
	}
	l.rope = ropeTable(&r)
	if factors == nil && r.Long != nil {
		r.Factors = r.Long
		l.rope.Long = ropeTable(&r)
	}
	if l.Spec.Latent.Rank > 0 {
		r.Offset = 0
		l.latentRope = ropeTable(&r)
	}
}

// ropeTable is a table of angles.
func ropeTable(r *arch.Rope) *autograd.RopeTable {
	table := autograd.Rope{
		Dim: r.Dim, Offset: r.Offset, Base: r.Base, Scale: r.Scale, Factors: r.Factors, Neox: r.Neox, Magnitude: r.Magnitude,
	}
	if y := r.Yarn; y != nil {
		yarn := autograd.YaRN{
			Factor: 1 / r.Scale, Original: float64(r.Original), BetaFast: y.BetaFast, BetaSlow: y.BetaSlow, Share: 1,
		}
		yarn.Extend(&table)
		table.Magnitude = r.Magnitude
	}
	return autograd.NewRopeTable(table)
}

// InGGUF is the name that the weight of one of the model's linear maps has in a GGUF file of its architecture, and
// where that has the rows and columns of the Hugging Face weight.
func (m *Model) InGGUF(l *Linear) (tensor string, o Order) {
	t := m.Arch.Tensor(l.Role)
	if l.Joint != nil {
		return t.InGGUF(l.Layer), Order{}
	}
	return t.InGGUF(l.Layer), Order{arch.Inverted(t.Rows(&m.Spec, l.Layer)), arch.Inverted(t.Columns(&m.Spec, l.Layer))}
}

// In finds the weight of one of the model's linear maps in other files of the same model, and where these have its rows
// and columns; ok is false where they have none.
func (m *Model) In(s *store.Store, l *Linear) (t store.Tensor, o Order, ok bool) {
	if s.GGUF != nil {
		_, o = m.InGGUF(l)
	}
	t, ok = m.rowsIn(s, l)
	return t, o, ok
}
