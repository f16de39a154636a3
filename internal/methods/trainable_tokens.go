package methods

import (
	"errors"
	"fmt"
	"slices"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/errkind"
)

// MethodTrainableTokens is the peft_type of trained rows of the embedding table and nothing else. A LoRA may have such
// rows beside its pairs (--train-tokens); files that PEFT wrote with this method are read, used and written.
const MethodTrainableTokens = "TRAINABLE_TOKENS"

// tokensAlonePart is the rows, (n, D), as they are instead of the base's.
const tokensAlonePart = "trainable_tokens_delta"

// tokensSettings are the fields of the configuration.
type tokensSettings struct {
	Targets attach.Modules `json:"target_modules"`
	Tokens  []int32        `json:"token_indices"`
	Init    bool           `json:"init_weights"`
}

// Check reports targets other than one module, which has to be the embedding table.
func (s *tokensSettings) Check() error {
	switch {
	case s.Targets.Regex != "" && !arch.IsEmbedding("model."+s.Targets.Regex) && !arch.IsEmbedding(s.Targets.Regex):
		return errkind.Errorf(errors.ErrUnsupported, "not supported: target_modules = %q, only the embedding table",
			s.Targets.Regex)
	case len(s.Targets.Names) > 1:
		return errkind.Errorf(errors.ErrUnsupported, "not supported: target_modules of %d names, only the embedding table",
			len(s.Targets.Names))
	case len(s.Tokens) == 0:
		return errors.New("token_indices lists no token")
	}
	sorted := slices.Sorted(slices.Values(s.Tokens))
	if sorted[0] < 0 || len(slices.Compact(sorted)) < len(s.Tokens) {
		return errors.New("token_indices has a token twice, or a negative one")
	}
	return nil
}

func init() {
	attach.RegisterFamily(&attach.Family{
		Name: "trainable-tokens", PeftType: MethodTrainableTokens,
		Settings: func() attach.Settings { return &tokensSettings{Init: true} },
		Method: func(c *attach.Config, params []attach.Param) (attach.Method, error) {
			return newTrainableTokens(c, params)
		},
	})
}

// trainableTokens is a LoRA that has rows of the embedding table and no pair.
type trainableTokens struct{ LoRA }

func newTrainableTokens(c *attach.Config, params []attach.Param) (*trainableTokens, error) {
	tokens := c.Settings.(*tokensSettings).Tokens
	if len(params) != 1 {
		return nil, fmt.Errorf("adapter: %d tensors, expected one of the rows of tokens", len(params))
	}
	module, _, ok := attach.ParsePart(params[0].Name, []string{tokensAlonePart})
	if !ok || !arch.IsEmbedding(module) {
		return nil, fmt.Errorf("adapter: tensor %q is not the rows of tokens in an embedding table (….%s)", params[0].Name,
			tokensAlonePart)
	}
	if shape := params[0].Shape; len(shape) != 2 || shape[0] != len(tokens) {
		return nil, fmt.Errorf("adapter: tensor %q has shape %v, expected a row for each of %d tokens", params[0].Name, shape,
			len(tokens))
	}
	m := &trainableTokens{LoRA{Config: c, Extras: newLoRAExtras()}}
	m.Extras.tokens, m.Extras.ids = 0, tokens
	return m, nil
}

// AsLoRA is a method that has pairs, or rows of the embedding table, and nothing else.
func AsLoRA(m attach.Method) (*LoRA, bool) {
	if tokens, ok := m.(*trainableTokens); ok {
		return &tokens.LoRA, true
	}
	lora, ok := m.(*LoRA)
	return lora, ok
}

// Describe counts the rows.
func (m *trainableTokens) Describe() string {
	return fmt.Sprintf("rows of %d tokens in the embedding table", len(m.Extras.ids))
}
