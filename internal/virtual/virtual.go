package virtual

import (
	"fmt"
	"math"
	"slices"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/kernels"
)

// PromptTensor is PEFT's name of the one tensor of an adapter whose training is over, of all methods that add virtual
// tokens.
const PromptTensor = "prompt_embeddings"

// VirtualSettings are the fields of adapter_config.json that all methods with virtual tokens have.
type VirtualSettings struct {
	Tokens     int `json:"num_virtual_tokens"`
	TokenDim   int `json:"token_dim"`                  // values of a token: the model's width, or that of all key heads
	Submodules int `json:"num_transformer_submodules"` // 1 for a decoder
	Heads      int `json:"num_attention_heads"`
	Layers     int `json:"num_layers"`
}

// newVirtualSettings are those of n virtual tokens in the stream of a base.
func newVirtualSettings(b *attach.Base, n int) VirtualSettings {
	s := &b.Model.Spec
	return VirtualSettings{Tokens: n, TokenDim: s.Width, Submodules: 1, Heads: s.QueryHeads, Layers: s.Layers}
}

func (s *VirtualSettings) Check() error {
	switch {
	case s.Tokens < 1 || s.Tokens > 1<<20:
		return fmt.Errorf("num_virtual_tokens %d, expected 1 or more", s.Tokens)
	case s.TokenDim < 0 || s.TokenDim > attach.MaxRank || s.Layers < 0 || s.Layers > 1<<16:
		return fmt.Errorf("token_dim %d and num_layers %d, expected sizes of a model", s.TokenDim, s.Layers)
	case s.Submodules != 1:
		return fmt.Errorf("num_transformer_submodules %d, expected 1: the base is a decoder", s.Submodules)
	}
	return nil
}

// checkWidth reports embeddings that do not fit a base.
func (s *VirtualSettings) checkWidth(b *attach.Base) error {
	if s.TokenDim != b.Model.Spec.Width {
		return errkind.Errorf(attach.ErrWrongBase, "adapter: its virtual tokens have %d values, but the width of %s "+
			"is %d: an adapter of another base?",
			s.TokenDim, b.Path, b.Model.Spec.Width)
	}
	return nil
}

// onlyPrompt checks that the tensors are the one of an adapter whose training is over, of the given shape.
func onlyPrompt(params []attach.Param, rows, cols int) error {
	if len(params) != 1 || params[0].Name != PromptTensor {
		return fmt.Errorf("adapter: it has %d tensors beginning with %q, expected only %s",
			len(params), params[0].Name, PromptTensor)
	}
	return checkShape(&params[0], rows, cols)
}

// checkShape reports a tensor of another shape.
func checkShape(p *attach.Param, shape ...int) error {
	if !slices.Equal(p.Shape, shape) {
		return fmt.Errorf("adapter: tensor %q has shape %v, but the configuration says %v", p.Name, p.Shape, shape)
	}
	return nil
}

// virtualAttachment is virtual tokens bound to a base.
type virtualAttachment struct {
	attach.Plain
	tokens int
	first  int32                                   // id of the first; the others follow downwards
	encode func(t *autograd.Tape) *autograd.Tensor // the embeddings (tokens, D)
	made   *autograd.Tensor                        // in this pass
}

// Begin makes the embeddings.
func (at *virtualAttachment) Begin(t *autograd.Tape) { at.made = at.encode(t) }

// Embedding inserts them.
func (at *virtualAttachment) Embedding(t *autograd.Tape, ids []int32, x *autograd.Tensor) *autograd.Tensor {
	return t.Virtual(x, ids, at.made, at.first)
}

// Effect is the virtual tokens.
func (at *virtualAttachment) Effect() attach.Effect {
	return attach.Effect{Expand: at.expand, Reserve: at.reserve}
}

// expand puts the tokens before sequences that have none of them already, as those of a template have.
func (at *virtualAttachment) expand(b *batch.Batch) {
	b.Prepend(at.tokens, at.first, func(ids []int32) bool { return !slices.ContainsFunc(ids, at.owns) })
}

func (at *virtualAttachment) owns(id int32) bool {
	return id <= at.first && id > at.first-int32(at.tokens)
}

// reserve takes ids downwards from first and gives the next free one.
func (at *virtualAttachment) reserve(first int32) int32 {
	at.first = first
	return first - int32(at.tokens)
}

// rootMeanSquare is √mean(x²).
func rootMeanSquare(x []float32) float64 { return math.Sqrt(kernels.SumSquares(x) / float64(len(x))) }

// startEncoder fills a tensor of an encoder: tables normal, weights uniform in ±1/√in, biases zero.
func startEncoder(p *attach.Param, seed uint64) {
	r := prng.NewRandom(seed, p.Name)
	switch {
	case p.Name == EncoderTable:
		r.Normal(p.Data, 1)
	case len(p.Shape) > 1:
		r.Uniform(p.Data, 1/math.Sqrt(float64(p.Cols())))
	}
}

// embeddingScale is the root mean square of the values of a base's embeddings, of some hundred tokens.
func embeddingScale(b *attach.Base) float64 {
	const sample = 512
	row, sum, n := make([]float32, b.Model.Embed.Cols), 0.0, 0
	step := max(1, b.Model.Embed.Rows/sample)
	for id := 0; id < b.Model.Embed.Rows; id += step {
		b.Model.Embed.Row(row, id)
		for _, v := range row {
			sum += float64(v) * float64(v)
		}
		n += len(row)
	}
	return math.Sqrt(sum / float64(n))
}
