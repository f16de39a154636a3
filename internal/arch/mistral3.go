package arch

func init() { Register(&mistral3) }

// mistral3 is Ministral 3 and Mistral 3: llama with YaRN whose magnitude the file says, and queries that grow with
// their position.
var mistral3 = Arch{
	Name:       "mistral3",
	Conversion: Conversion{Keys: mistral3Keys},
	HF: []HFModel{
		{Type: "mistral3", Class: "Mistral3ForConditionalGeneration", Text: "text_config", In: "language_model.model.",
			Head: "language_model.lm_head"},
		{Type: "ministral3", Class: "Ministral3ForCausalLM"},
	},
	Vocabulary: llamaVocabulary,
	Spec:       mistral3Spec,
	Tensors:    with(decoderTensors(permuteHeads), mixtralExperts()...),
	Ignored:    rotaryAngles,

	Config: mistral3Config,
}

func mistral3Spec(f *Fields) Spec {
	s := decoderSpec(f)
	f.activation("hidden_act", "silu")
	f.permutedRope(&s)
	in := "rope_parameters."
	beta := f.FloatOr("attention.temperature_scale", in+"llama_4_scaling_beta", 0)
	// multiplier 0 is one that is not there
	multiplier := f.FloatOr("rope.scaling.yarn_log_multiplier", in+"mscale_all_dim", 0)
	s.EditRope(func(r *Rope) {
		if r.Yarn == nil {
			return
		}
		r.Yarn.BetaFast = f.FloatOr("rope.scaling.yarn_beta_fast", in+"beta_fast", r.Yarn.BetaFast)
		r.Yarn.BetaSlow = f.FloatOr("rope.scaling.yarn_beta_slow", in+"beta_slow", r.Yarn.BetaSlow)
		if multiplier != 0 {
			r.Magnitude /= yarnMagnitude(1/r.Scale, multiplier)
		}
	})
	if beta != 0 {
		original := s.Rope.Original
		s.All(func(l *Layer) { l.Temperature = Temperature{Beta: beta, Length: max(original, 1)} })
	}
	f.experts(&s, MoE{FFN: s.FFN, Gating: Softmax, Norm: true})
	return s
}

// mistral3Keys are those of llama, and how YaRN and queries grow.
func mistral3Keys(k *Keys) {
	llamaKeys(k)
	k.float("rope.scaling.yarn_log_multiplier", "rope_parameters.mscale_all_dim")
	k.float("attention.temperature_scale", "rope_parameters.llama_4_scaling_beta")
}

func mistral3Config(c *Config) {
	c.textOnly("ministral3")
	c.sets("sliding_window", nil, "head_dim", c.Spec.HeadDim)
	p := c.ropeParameters()
	if beta := c.Spec.Temperature.Beta; beta != 0 {
		p["llama_4_scaling_beta"] = beta
	}
	if multiplier := c.f.FloatOr("rope.scaling.yarn_log_multiplier", "", 0); multiplier != 0 {
		p["mscale"], p["mscale_all_dim"] = float32(1), multiplier
	}
}
