package arch

import (
	"errors"
	"strings"
	"testing"
)

// TestClasses reads what config.json of a class says, and what the class has where it does not say.
func TestClasses(t *testing.T) {
	const gemmaRope = `"sliding_window": 32, "rope_parameters": {
		"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
		"sliding_attention": {"rope_type": "default", "rope_theta": 20000.0}},
		"layer_types": ["sliding_attention", "full_attention"]`
	for _, c := range []struct {
		kind, fields string
		want         func(s *Spec) bool
	}{
		{"falcon", ``, func(s *Spec) bool { return s.Activation == GELUErf && s.Parallel && s.KeyHeads == 1 && s.Tied }},
		{"falcon", `"activation": "gelu_pytorch_tanh"`, func(s *Spec) bool { return s.Activation == GELU }},
		{"gpt_neox", ``, func(s *Spec) bool { return s.Activation == GELUErf && s.Rope.Dim == 4 }},
		{"gpt_neox", `"rotary_pct": 1.0, "rotary_emb_base": 500`,
			func(s *Spec) bool { return s.Rope.Dim == 16 && s.Rope.Base == 500 }},
		{"phi", ``, func(s *Spec) bool { return s.Activation == GELU && s.Rope.Dim == 8 }},
		{"starcoder2", `"norm_epsilon": 1e-5`, func(s *Spec) bool { return s.Activation == GELU && s.Tied }},
		{"stablelm", ``, func(s *Spec) bool { return s.Rope.Dim == 4 }},
		{"glm", ``, func(s *Spec) bool { return s.Rope.Dim == 8 && !s.Rope.Neox }},
		{"ernie4_5", ``, func(s *Spec) bool { return !s.Rope.Neox }},
		{"cohere", ``, func(s *Spec) bool { return s.LogitScale == 0.0625 }},
		{"cohere", `"logit_scale": 0.25`, func(s *Spec) bool { return s.LogitScale == 0.25 }},
		{"bloom", `"hidden_size": null, "n_embed": 32, "num_attention_heads": 2`,
			func(s *Spec) bool { return s.Width == 32 && s.QueryHeads == 2 && s.FFN == 128 && s.ALiBi == 8 }},
		{"smollm3", ``, func(s *Spec) bool { return s.At(0).Rope.Dim == 16 && s.At(1).Rope.Dim == 16 }},
		{"smollm3", `"no_rope_layers": [1, 0]`, func(s *Spec) bool { return s.At(0).Rope.Dim == 16 && s.At(1).Rope.Dim == 0 }},
		{"gemma3_text", gemmaRope, func(s *Spec) bool {
			narrow, wide := s.At(0), s.At(1)
			return narrow.Window == 32 && narrow.Rope.Base == 20000 && narrow.Rope.Scale == 1 && wide.Window == 0 &&
				wide.Rope.Base == 1e6 && wide.Rope.Scale == 0.125
		}},
		{"qwen3", `"rope_parameters": {"rope_type": "default", "rope_theta": 7000.0}`,
			func(s *Spec) bool { return s.Rope.Base == 7000 && s.Rope.Dim == 16 }},
	} {
		m, err := classFrom(t, c.kind, c.fields)
		if err != nil || !c.want(&m.Spec) {
			t.Errorf("%s with %q: error %v, %+v", c.kind, c.fields, err, m)
		}
	}
}

// classFrom reads config of a class whose names of the activation and of epsilon are its own, with fields added.
func classFrom(t *testing.T, kind, fields string) (*Model, error) {
	t.Helper()
	if fields != "" {
		fields = ", " + fields
	}
	return fromConfig(t, `"llama"`, `"`+kind+`"`, `"hidden_act": "silu"`, `"x": 0`, `"intermediate_size": 96, `, ``,
		`"sliding_window": null`, `"intermediate_size": 96, "layer_norm_epsilon": 1e-5, "layer_norm_eps": 1e-5`+fields)
}

// TestClassesRefused names what is on in config.json and is not computed.
func TestClassesRefused(t *testing.T) {
	for _, c := range []struct{ kind, fields, want string }{
		{"falcon", `"alibi": true`, "alibi is not supported"},
		{"falcon", `"parallel_attn": false`, "parallel_attn false is not supported"},
		{"phi", `"qk_layernorm": true`, "qk_layernorm is not supported"},
		{"gpt2", `"scale_attn_by_inverse_layer_idx": true`, "scale_attn_by_inverse_layer_idx is not supported"},
		{"bloom", `"apply_residual_connection_post_layernorm": true`, "post_layernorm is not supported"},
		{"olmoe", `"clip_qkv": 8.0`, "clip_qkv 8 is not supported"},
	} {
		_, err := classFrom(t, c.kind, c.fields)
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %s: error %v, expected %q", c.kind, c.fields, err, c.want)
		}
	}
	if _, err := classFrom(t, "smollm3", `"no_rope_layers": [1]`); err == nil ||
		!strings.Contains(err.Error(), "no_rope_layers has 1 numbers, expected 2") {
		t.Errorf("error %v", err)
	}
}
