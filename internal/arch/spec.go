package arch

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Spec says what a decoder computes. All sizes count float32 values.
type Spec struct {
	Architecture string // the name of the Arch
	Layers       int    // that run
	Drafts       int    // layers after them, in the file, that guess further tokens: they are kept and not run
	Width        int    // D, the residual stream
	Vocab        int
	Context      int     // tokens the model was trained for
	NormEps      float32 // of every norm
	LayerNorm    bool    // norms take the mean away too (LayerNorm), otherwise not (RMSNorm)
	BareNorms    bool    // norms of the stream have no weights
	Tied         bool    // the output head is the embedding table

	EmbeddingScale float32 // of the embedded tokens; 0: 1
	ResidualScale  float32 // of what a part of a layer adds to the stream; 0: 1
	LogitScale     float32 // of the logits; 0: 1
	LogitCap       float32 // logits z become cap·tanh(z/cap); 0: they stay
	LayerEmbedding int     // columns of the second embedding for each layer; 0: there is none

	Layer         // what every layer computes or, where they differ, the first
	Each  []Layer // (Layers) what each computes, nil where all are alike
}

// Mixer is what a layer mixes tokens with.
type Mixer uint8

// The mixers.
const (
	SelfAttention Mixer = iota
	DeltaNet            // gated delta net (Yang et al. 2024)
	Mamba2              // (Dao, Gu 2024)
	ShortConv           // a gated causal convolution
	NoMixer             // the layer is a feed-forward network alone
)

// Activation is what a feed-forward network has between its maps.
type Activation uint8

// The activations. Where a network has a gate, the gate goes through it and multiplies the up-projection.
const (
	SiLU    Activation = iota
	GELU               // by tanh
	GELUErf            // by the error function
	ReLU2              // the square of relu
	OAI                // SiLU(1.702·x)/1.702 of a clamped gate, with an up-projection that is clamped and raised by 1
)

// Layer says what one layer computes.
type Layer struct {
	Mixer    Mixer
	Parallel bool // attention and FFN both read the stream before the layer

	FFN        int // inner width of the dense feed-forward network; 0: there is none
	Activation Activation
	Experts    MoE

	QueryHeads    int
	KeyHeads      int // key and value heads
	HeadDim       int // of queries and keys
	ValueDim      int // of values; 0: as many
	Rope          Rope
	Window        int     // a token sees so many tokens, itself among them; 0: all before it
	ScoreScale    float32 // 0: 1/√HeadDim
	ScoreCap      float32 // scores s become cap·tanh(s/cap); 0: they stay
	ALiBi         float32 // the largest slope's exponent (Press et al. 2022); 0: none
	Clamp         float32 // of queries, keys and values; 0: none
	NormAfterRope bool    // queries and keys are normed after rotation
	NormValues    bool    // values are normed too, without weights
	GatedQuery    bool    // the rows of Query are, for each head, those of the query and as many for a gate of the result
	KeysFrom      int     // the layer whose keys and values are read, counted from 1; 0: the layer's own
	Temperature   Temperature
	Latent        Latent

	Delta Delta
	Mamba Mamba
	Taps  int // of the short convolution
}

// Temperature multiplies the query at position p by 1 + Beta·ln(⌊p/Length⌋ + 1).
type Temperature struct {
	Beta   float64
	Length int
}

// MoE is a mixture of experts.
type MoE struct {
	Count, Used int // experts, and those that a token visits; Count 0: the layer has none
	FFN         int // inner width of an expert
	Shared      int // inner width of the expert that all tokens visit; 0: there is none

	Gating             Gating
	Norm               bool    // the weights of the chosen ones add up to 1
	Scale              float32 // of the weights; 0: 1
	Groups, GroupsUsed int     // experts are chosen among those of the best groups; Groups below 2: among all
	Beside             bool    // the experts stand beside a dense network
}

// Gating is what makes weights of the router's scores.
type Gating uint8

// The ways, with the numbers that GGUF files have for them.
const (
	Softmax         Gating = 1
	Sigmoid         Gating = 2
	SoftmaxOfChosen Gating = 3
	SqrtSoftplus    Gating = 4
)

// Latent is multi-head latent attention (DeepSeek-AI 2024): keys and values of all heads are linear in Rank values of a
// token; Rope values of a key, the same for all heads, turn. Rank 0: the attention is another.
type Latent struct {
	QueryRank int // of the latent queries; 0: queries are made from the stream
	Rank      int
	Nope      int // values of a head of queries and keys that do not turn
	Value     int // values of a head of values
	Rope      int // values that turn
}

// Delta is a gated delta net.
type Delta struct {
	KeyHeads, ValueHeads int
	KeyDim, ValueDim     int
	Taps                 int  // of the convolution before it
	Grouped              bool // value head h reads key head h/(ValueHeads/KeyHeads), otherwise h mod KeyHeads
}

// Channels are those of the convolution: queries, keys and values.
func (d *Delta) Channels() int { return 2*d.KeyHeads*d.KeyDim + d.ValueHeads*d.ValueDim }

// Mamba is a Mamba-2 mixer.
type Mamba struct {
	Heads, HeadDim int
	Groups, State  int // input and output maps are shared by the heads of a group
	Taps           int // of the convolution before it
}

// Inner is the width of all heads.
func (m *Mamba) Inner() int { return m.Heads * m.HeadDim }

// Channels are those of the convolution: inputs, input maps and output maps.
func (m *Mamba) Channels() int { return m.Inner() + 2*m.Groups*m.State }

// Rope is rotary position embedding: see autograd.Rope.
type Rope struct {
	Dim     int       // values of a head that turn; 0: none do
	Offset  int       // the first of them in the head
	Base    float64   // theta
	Scale   float64   // positions are multiplied by it; 1 where there is no linear scaling
	Factors []float32 // (Dim/2) divisors of the angles, or nil
	Neox    bool      // pairs are halves of the head, not neighbours

	Plain       bool      // the tensors of factors are not for it
	Long, Short []float32 // Factors for sequences beyond Original and for others
	Yarn        *Yarn     // nil: none
	Original    int       // the context before it was extended
	Magnitude   float64   // of what has turned; 0: 1
}

// Yarn is YaRN (Peng et al. 2023): slow pairs are scaled, fast ones are not.
type Yarn struct{ BetaFast, BetaSlow float64 }

// Equal reports whether two turn alike.
func (r *Rope) Equal(o *Rope) bool {
	return r.Dim == o.Dim && r.Offset == o.Offset && r.Base == o.Base && r.Scale == o.Scale && r.Neox == o.Neox &&
		r.Original == o.Original &&
		r.Magnitude == o.Magnitude && slices.Equal(r.Factors, o.Factors) && slices.Equal(r.Long, o.Long) &&
		slices.Equal(r.Short, o.Short) && (r.Yarn == o.Yarn || r.Yarn != nil && o.Yarn != nil && *r.Yarn == *o.Yarn)
}

// At is what layer i computes.
func (s *Spec) At(i int) *Layer {
	if s.Each != nil {
		return &s.Each[min(i, len(s.Each)-1)]
	}
	return &s.Layer
}

// PerLayer changes what each layer computes.
func (s *Spec) PerLayer(edit func(i int, l *Layer)) {
	if s.Each == nil {
		s.Each = slices.Repeat([]Layer{s.Layer}, s.Layers)
	}
	for i := range s.Each {
		edit(i, &s.Each[i])
	}
	if len(s.Each) > 0 {
		s.Layer = s.Each[0]
	}
}

// All changes what all layers compute.
func (s *Spec) All(edit func(l *Layer)) {
	edit(&s.Layer)
	for i := range s.Each {
		edit(&s.Each[i])
	}
}

// EditRope changes rotary position embedding in all layers.
func (s *Spec) EditRope(edit func(r *Rope)) { s.All(func(l *Layer) { edit(&l.Rope) }) }

// Values is the number of values of a head of values.
func (l *Layer) Values() int {
	if l.ValueDim > 0 {
		return l.ValueDim
	}
	return l.HeadDim
}

// Widest is the width of the widest activation of any layer.
func (s *Spec) Widest() int {
	widest := s.Width
	for i := range max(len(s.Each), 1) {
		l := s.At(i)
		for _, d := range []Dim{DimFFN, DimQuery, DimAttended, DimQKV, DimExpertFFN, DimShared, DimRecurrentIn,
			DimRecurrentQKV} {
			widest = max(widest, d.Of(s, i))
		}
		if l.Mixer == ShortConv {
			widest = max(widest, 3*s.Width)
		}
	}
	return widest
}

// Limits beyond every model.
const (
	maxLayers = 1 << 14
	maxWidth  = 1 << 22 // of an activation
)

// Check reports sizes that no decoder can have.
func (s *Spec) Check() error {
	switch {
	case s.Layers > maxLayers:
		return fmt.Errorf("layers is %d, expected at most %d", s.Layers, maxLayers)
	case s.Each != nil && len(s.Each) != s.Layers:
		return fmt.Errorf("%d layers are described, expected %d", len(s.Each), s.Layers)
	}
	if err := positive(size{"layers", s.Layers}, size{"embedding length", s.Width},
		size{"vocabulary", s.Vocab}); err != nil {
		return err
	}
	for i := range max(len(s.Each), 1) {
		if err := s.checkLayer(s.At(i)); err != nil {
			return err
		}
	}
	if widest := s.Widest(); widest > maxWidth {
		return fmt.Errorf("a layer has %d values side by side, expected at most %d", widest, maxWidth)
	}
	if !(s.NormEps > 0) {
		return fmt.Errorf("norm epsilon is %g, expected a positive number", s.NormEps)
	}
	return finite(factor{"embedding scale", s.EmbeddingScale}, factor{"residual scale", s.ResidualScale},
		factor{"logit scale", s.LogitScale}, factor{"logit cap", s.LogitCap})
}

// factor is a number that multiplies or bounds values.
type factor struct {
	name  string
	value float32
}

// finite reports the first factor that is negative, infinite or NaN.
func finite(factors ...factor) error {
	for _, f := range factors {
		if !(f.value >= 0 && f.value <= math.MaxFloat32) {
			return fmt.Errorf("%s is %g, expected a finite number of 0 or more", f.name, f.value)
		}
	}
	return nil
}

// size is a number that must be one of values.
type size struct {
	name  string
	value int
}

// positive reports the first size that is none.
func positive(sizes ...size) error {
	for _, s := range sizes {
		if s.value <= 0 || s.value > 1<<30 {
			return fmt.Errorf("%s is %d, expected a positive number", s.name, s.value)
		}
	}
	return nil
}

// checkLayer reports sizes that no decoder with such a layer can have.
func (s *Spec) checkLayer(l *Layer) error {
	if l.Experts.Count > 0 {
		if err := l.Experts.check(); err != nil {
			return err
		}
	} else if l.FFN <= 0 && l.Mixer == NoMixer || l.FFN < 0 {
		return positive(size{"feed-forward length", l.FFN})
	}
	switch l.Mixer {
	case SelfAttention:
		return l.checkAttention()
	case DeltaNet:
		return l.Delta.check()
	case Mamba2:
		return l.Mamba.check()
	case ShortConv:
		return positive(size{"taps of the convolution", l.Taps})
	}
	return nil
}

func (l *Layer) checkAttention() error {
	err := positive(size{"heads", l.QueryHeads}, size{"key-value heads", l.KeyHeads}, size{"head size", l.HeadDim},
		size{"size of a value", l.Values()})
	if err == nil {
		err = finite(factor{"score scale", l.ScoreScale}, factor{"score cap", l.ScoreCap}, factor{"clamp", l.Clamp},
			factor{"exponent of slopes", l.ALiBi}, factor{"magnitude of rope", float32(l.Rope.Magnitude)})
	}
	if err != nil {
		return err
	}
	switch r := &l.Rope; {
	case l.QueryHeads%l.KeyHeads != 0:
		return fmt.Errorf("%d heads cannot share %d key-value heads evenly", l.QueryHeads, l.KeyHeads)
	case r.Dim < 0 || r.Dim > l.HeadDim || r.Dim%2 != 0:
		return fmt.Errorf("rope turns %d values of heads of %d, expected an even number of at most that", r.Dim, l.HeadDim)
	case r.Dim > 0 && (!(r.Base > 0) || !(r.Scale > 0)):
		return fmt.Errorf("rope base %g and scale %g, expected positive numbers", r.Base, r.Scale)
	default:
		for _, factors := range [][]float32{r.Factors, r.Long, r.Short} {
			if factors != nil && len(factors) != r.Dim/2 {
				return fmt.Errorf("%d rope factors, expected %d", len(factors), r.Dim/2)
			}
			for i, x := range factors {
				if x == 0 || math.IsNaN(float64(x)) {
					return fmt.Errorf("rope factor %d is %g, by which no angle can be divided", i, x)
				}
			}
		}
	}
	return nil
}

func (m *MoE) check() error {
	switch {
	case m.Gating < Softmax || m.Gating > SqrtSoftplus:
		return fmt.Errorf("gating %d of experts is not known, expected %d to %d", m.Gating, Softmax, SqrtSoftplus)
	case m.Count > 1024 || m.Used <= 0 || m.Used > m.Count:
		return fmt.Errorf("%d of %d experts are used, expected some of at most 1024", m.Used, m.Count)
	case m.Groups > 1 && (m.Count%m.Groups != 0 || m.GroupsUsed <= 0 || m.GroupsUsed > m.Groups):
		return fmt.Errorf("%d of %d groups of %d experts are used, expected some of groups of equal size",
			m.GroupsUsed, m.Groups, m.Count)
	}
	return positive(size{"feed-forward length of an expert", m.FFN})
}

func (d *Delta) check() error {
	err := positive(size{"key heads of the delta net", d.KeyHeads}, size{"value heads of the delta net", d.ValueHeads},
		size{"size of its keys", d.KeyDim}, size{"size of its values", d.ValueDim}, size{"taps of its convolution", d.Taps})
	if err == nil && d.ValueHeads%d.KeyHeads != 0 {
		err = fmt.Errorf("%d value heads cannot share %d key heads of the delta net evenly", d.ValueHeads, d.KeyHeads)
	}
	return err
}

func (m *Mamba) check() error {
	err := positive(size{"heads of Mamba-2", m.Heads}, size{"size of its heads", m.HeadDim}, size{"its groups", m.Groups},
		size{"size of its state", m.State}, size{"taps of its convolution", m.Taps})
	if err == nil && m.Heads%m.Groups != 0 {
		err = fmt.Errorf("%d heads of Mamba-2 are in %d groups, expected groups of equal size", m.Heads, m.Groups)
	}
	return err
}

// IsDraft reports whether a tensor of a GGUF file is one of a layer that does not run.
func (s *Spec) IsDraft(name string) bool {
	rest, ok := strings.CutPrefix(name, "blk.")
	number, _, _ := strings.Cut(rest, ".")
	layer, err := strconv.Atoi(number)
	return ok && err == nil && s.Layers <= layer && layer < s.Layers+s.Drafts
}
