package arch

import "strings"

func init() { Register(&nemotronH) }

// nemotronH is Nemotron-H: each layer is a Mamba-2 mixer, attention without positions, or a network of squared ReLUs.
var nemotronH = Arch{
	Name:       "nemotron_h",
	Conversion: Conversion{Keys: nemotronHKeys},
	HF:         []HFModel{{Type: "nemotron_h", Class: "NemotronHForCausalLM", In: "backbone."}},
	Vocabulary: nemotronHVocabulary,
	Spec:       nemotronHSpec,
	Tensors: with(without(decoderTensors(permuteHeads), Gate), append(mambaTensors("mixer."),
		endTensor(TokenEmbedding, "token_embd", "model.embeddings", DimVocab, DimWidth),
		endTensor(OutputNorm, "output_norm", "model.norm_f", DimWidth),
		layerTensor(AttentionNorm, "attn_norm", "norm", DimWidth),
		layerTensor(FFNNorm, "attn_norm", "norm", DimWidth),
		transformed(layerTensor(Query, "attn_q", "mixer.q_proj", DimQuery, DimWidth), permuteHeads(DimQueryHeads)),
		transformed(layerTensor(Key, "attn_k", "mixer.k_proj", DimKey, DimWidth), permuteHeads(DimKeyHeads)),
		layerTensor(Value, "attn_v", "mixer.v_proj", DimValue, DimWidth),
		layerTensor(AttentionOutput, "attn_output", "mixer.o_proj", DimWidth, DimAttended),
		layerTensor(Up, "ffn_up", "mixer.up_proj", DimFFN, DimWidth),
		layerTensor(Down, "ffn_down", "mixer.down_proj", DimWidth, DimFFN))...),
	Ignored: rotaryAngles,

	Config: nemotronHConfig,
}

func nemotronHSpec(f *Fields) Spec {
	s := decoderSpec(f)
	f.activation("mlp_hidden_act", "relu2")
	if f.HF {
		s.NormEps = float32(f.FloatOr("", "layer_norm_epsilon", f.FloatOr("", "norm_eps", float64(s.NormEps))))
		s.HeadDim = f.IntOr("", "attention_head_dim", s.HeadDim)
	}
	m := f.mamba("mamba_num_heads", "mamba_head_dim", "n_groups", "ssm_state_size", "conv_kernel")
	pattern := strings.ReplaceAll(f.Text("", "hybrid_override_pattern"), "|", "")
	head, ffn := s.HeadDim, s.FFN
	s.PerLayer(func(i int, l *Layer) {
		l.Activation, l.HeadDim = ReLU2, head
		l.Rope.Dim = 0
		kind := byte(0)
		switch {
		case i < len(pattern):
			kind = pattern[i]
		case f.HF:
			f.Fail("hybrid_override_pattern has %d layers, expected %d", len(pattern), s.Layers)
		case l.FFN > 0:
			kind = '-'
		case l.KeyHeads == 0:
			kind = 'M'
		default:
			kind = '*'
		}
		switch kind {
		case 'M':
			l.Mixer, l.Mamba, l.FFN = Mamba2, m, 0
		case '-':
			l.Mixer = NoMixer
			if f.HF {
				l.FFN = ffn
			}
		default:
			l.FFN = 0
		}
	})
	return s
}

func nemotronHKeys(k *Keys) {
	s := k.Spec
	ffn := make([]int32, s.Layers)
	for i := range ffn {
		ffn[i] = int32(s.At(i).FFN)
	}
	k.layers()
	k.count("context_length", 1<<20)
	k.width()
	k.set("feed_forward_length", ffn)
	k.heads()
	k.keyHeadsOfLayers()
	k.rmsEps()
	k.layerNormEps()
	k.fileType()
	k.vocab()
	k.count("rope.dimension_count", k.Spec.Width/k.Spec.QueryHeads)
	k.mamba()
	k.set("rope.scaling.finetuned", false)
	k.headDims(s.HeadDim, s.HeadDim)
}

func nemotronHConfig(c *Config) {
	s := c.Spec
	pattern := make([]byte, s.Layers)
	for i := range pattern {
		switch l := s.At(i); l.Mixer {
		case Mamba2:
			pattern[i] = 'M'
		case NoMixer:
			pattern[i] = '-'
		default:
			pattern[i] = '*'
		}
	}
	m := &c.layer(func(l *Layer) bool { return l.Mixer == Mamba2 }).Mamba
	c.rename("rms_norm_eps", "layer_norm_epsilon", "hidden_act", "mamba_hidden_act")
	c.sets("hybrid_override_pattern", string(pattern), "mlp_hidden_act", "relu2", "attention_head_dim", s.HeadDim,
		"head_dim", s.HeadDim, "attention_bias", false, "mlp_bias", false, "use_bias", false, "mamba_proj_bias", false,
		"use_conv_bias", true, "chunk_size", 128, "sliding_window", nil, "mamba_num_heads", m.Heads,
		"mamba_head_dim", m.HeadDim, "n_groups", m.Groups, "ssm_state_size", m.State, "conv_kernel", m.Taps,
		"expand", c.expand(m))
}
