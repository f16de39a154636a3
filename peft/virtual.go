package peft

import (
	"fmt"
	"math"
	"slices"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/kernels"
)

// promptTensor is PEFT's name of the one tensor of an adapter whose training is over, of all methods that add virtual
// tokens.
const promptTensor = "prompt_embeddings"

// virtualSettings are the fields of adapter_config.json that all methods with virtual tokens have.
type virtualSettings struct {
	Tokens     int `json:"num_virtual_tokens"`
	TokenDim   int `json:"token_dim"`                  // values of a token: the model's width, or that of all key heads
	Submodules int `json:"num_transformer_submodules"` // 1 for a decoder
	Heads      int `json:"num_attention_heads"`
	Layers     int `json:"num_layers"`
}

// newVirtualSettings are those of n virtual tokens in the stream of a base.
func newVirtualSettings(b *Base, n int) virtualSettings {
	s := &b.Model.Spec
	return virtualSettings{Tokens: n, TokenDim: s.Width, Submodules: 1, Heads: s.QueryHeads, Layers: s.Layers}
}

func (s *virtualSettings) check() error {
	switch {
	case s.Tokens < 1 || s.Tokens > 1<<20:
		return fmt.Errorf("num_virtual_tokens %d, expected 1 or more", s.Tokens)
	case s.Submodules != 1:
		return fmt.Errorf("num_transformer_submodules %d, expected 1: the base is a decoder", s.Submodules)
	}
	return nil
}

// checkWidth reports embeddings that do not fit a base.
func (s *virtualSettings) checkWidth(b *Base) error {
	if s.TokenDim != b.Model.Spec.Width {
		return fmt.Errorf("adapter: its virtual tokens have %d values, but the width of %s is %d: an adapter of another base?",
			s.TokenDim, b.Path, b.Model.Spec.Width)
	}
	return nil
}

// virtualMethod is a method that adds virtual tokens or a prefix.
type virtualMethod interface {
	method
	// virtualTokens is the number of positions that it takes before a text.
	virtualTokens() int
}

// VirtualTokens is the number of positions that the adapter takes beside those of the text: of virtual tokens, or of
// keys and values before every layer's attention.
func (a *Adapter) VirtualTokens() int {
	if m, ok := a.method.(virtualMethod); ok {
		return m.virtualTokens()
	}
	return 0
}

// checkStrength refuses what virtual tokens cannot do: work a little.
func checkStrength(strength float64) error {
	if strength != 1 {
		return fmt.Errorf("adapter: the effect of virtual tokens cannot be scaled by %g, only be there or not", strength)
	}
	return nil
}

// collapsing is a method that is trained in another form than it is used in: the encoder of its virtual tokens is of no
// more use once what it gives is known.
type collapsing interface {
	// collapse is the tensors of the form that stays; nil says that the adapter has it.
	collapse(b *Base, params []Param) ([]Param, error)
}

// collapse leaves only what an adapter is used by, once its training is over.
func (a *Adapter) collapse(b *Base) error {
	m, ok := a.method.(collapsing)
	if !ok {
		return nil
	}
	params, err := m.collapse(b, a.params)
	if err != nil || params == nil {
		return err
	}
	shapes, data := map[string][]int{}, map[string][]float32{}
	for _, p := range params {
		shapes[p.Name], data[p.Name] = p.Shape, p.Data
	}
	a.params = nil
	a.allocate(shapes)
	for i := range a.params {
		copy(a.params[i].Data, data[a.params[i].Name])
	}
	a.method, err = newMethod(&a.Config, a.params)
	return err
}

// onlyPrompt checks that the tensors are the one of an adapter whose training is over, of the given shape.
func onlyPrompt(params []Param, rows, cols int) error {
	if len(params) != 1 || params[0].Name != promptTensor {
		return fmt.Errorf("adapter: it has %d tensors beginning with %q, expected only %s",
			len(params), params[0].Name, promptTensor)
	}
	return checkShape(&params[0], rows, cols)
}

// checkShape reports a tensor of another shape.
func checkShape(p *Param, shape ...int) error {
	if !slices.Equal(p.Shape, shape) {
		return fmt.Errorf("adapter: tensor %q has shape %v, but the configuration says %v", p.Name, p.Shape, shape)
	}
	return nil
}

// virtualAttachment is virtual tokens at work.
type virtualAttachment struct {
	plain
	tokens int
	first  int32                                   // id of the first; the others follow downwards
	encode func(t *autograd.Tape) *autograd.Tensor // the embeddings (tokens, D)
	made   *autograd.Tensor                        // in this pass
}

// Begin makes the embeddings.
func (at *virtualAttachment) Begin(t *autograd.Tape) { at.made = at.encode(t) }

// Embedding puts them in place.
func (at *virtualAttachment) Embedding(t *autograd.Tape, ids []int32, x *autograd.Tensor) *autograd.Tensor {
	return t.Virtual(x, ids, at.made, at.first)
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

// reserving is an attachment with virtual tokens of its own.
type reserving interface{ reserve(first int32) int32 }

// virtualTokens is the number of positions that the adapters take beside those of a text.
func (s stack) virtualTokens() int {
	n := 0
	for _, bound := range s {
		n += bound.adapter.VirtualTokens()
	}
	return n
}

// reserveAll gives each adapter ids of its own for its virtual tokens: those of the one with a template begin at -1.
func (s stack) reserveAll() error {
	next, templates := int32(-1), 0
	for _, templated := range []bool{true, false} {
		for _, bound := range s {
			at, ok := as[reserving](bound.attachment)
			if ok && templated == (bound.adapter.Config.Template != "") {
				next = at.reserve(next)
				if templated {
					templates++
				}
			}
		}
	}
	if templates > 1 {
		return fmt.Errorf("%d adapters have a template, there can be one", templates)
	}
	return nil
}

// rootMeanSquare is √mean(x²).
func rootMeanSquare(x []float32) float64 { return math.Sqrt(kernels.SumSquares(x) / float64(len(x))) }

// startEncoder fills a tensor of an encoder: tables normal, weights uniform in ±1/√in, biases zero.
func startEncoder(p *Param, seed uint64) {
	r := prng.NewRandom(seed, p.Name)
	switch {
	case p.Name == encoderTable:
		r.Normal(p.Data, 1)
	case len(p.Shape) > 1:
		r.Uniform(p.Data, 1/math.Sqrt(float64(p.Cols())))
	}
}

// embeddingScale is the root mean square of the values of a base's embeddings, of some hundred tokens.
func embeddingScale(b *Base) float64 {
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
