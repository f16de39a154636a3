package arch

import "math"

func init() { Register(&deepseek2) }

// deepseek2 is DeepSeek V2 and V3 and those that follow them: multi-head latent attention, and experts in groups with
// shared ones.
var deepseek2 = Arch{
	Name:       "deepseek2",
	Conversion: Conversion{Keys: deepseek2Keys, DropsTiedHead: true, Drafts: &nextTokens, DropsDrafts: true},
	HF: []HFModel{
		{Type: "deepseek_v2", Class: "DeepseekV2ForCausalLM"}, {Type: "deepseek_v3", Class: "DeepseekV3ForCausalLM"},
	},
	Spec: deepseek2Spec,
	Tensors: with(without(decoderTensors(nil), Key, Value), append(deepExpertTensors(),
		optional(layerTensor(Query, "attn_q", "self_attn.q_proj", DimQuery, DimWidth)),
		optional(layerTensor(QueryDown, "attn_q_a", "self_attn.q_a_proj", DimQueryRank, DimWidth)),
		optional(layerTensor(QueryDownNorm, "attn_q_a_norm", "self_attn.q_a_layernorm", DimQueryRank)),
		optional(layerTensor(QueryUp, "attn_q_b", "self_attn.q_b_proj", DimQuery, DimQueryRank)),
		layerTensor(KeyValueDown, "attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa", DimLatentRope, DimWidth),
		layerTensor(KeyValueDownNorm, "attn_kv_a_norm", "self_attn.kv_a_layernorm", DimLatent),
		optional(layerTensor(KeyUp, "attn_k_b", "", DimQueryHeads, DimLatent, DimNope)),
		optional(layerTensor(ValueUp, "attn_v_b", "", DimQueryHeads, DimHeadValue, DimLatent)),
		optional(layerTensor(KeyValueUp, "attn_kv_b", "self_attn.kv_b_proj", DimUpBoth, DimLatent)))...),
	Ignored:     rotaryAngles,
	PairsUnread: []Role{Query, QueryDown, QueryUp, KeyValueDown, KeyValueUp, OutputHead},

	Config: deepseek2Config,
}

func deepseek2Spec(f *Fields) Spec {
	s := decoderSpec(f)
	f.activation("hidden_act", "silu")
	latent := Latent{
		QueryRank: f.IntOr("attention.q_lora_rank", "q_lora_rank", 0), Rank: f.Int("attention.kv_lora_rank", "kv_lora_rank"),
		Rope: f.Int("rope.dimension_count", "qk_rope_head_dim"),
	}
	if f.HF {
		latent.Nope, latent.Value = f.Int("", "qk_nope_head_dim"), f.Int("", "v_head_dim")
	} else {
		latent.Nope = f.IntOr("attention.key_length_mla", "", s.HeadDim) - latent.Rope
		latent.Value = f.IntOr("attention.value_length_mla", "", s.Values())
	}
	gating := Softmax
	if f.Text("", "scoring_func") == "sigmoid" || f.HF && f.IntOr("", "n_group", 0) > 0 &&
		f.Text("", "topk_method") == "noaux_tc" ||
		(s.Layers == 47 || s.Layers == 48) && s.Vocab == 154880 {
		gating = Sigmoid
	}
	f.deepExperts(&s, gating, gating == Sigmoid)
	multiplier := f.FloatOr("rope.scaling.yarn_log_multiplier", "", 0) / 0.1
	if f.HF {
		multiplier = f.FloatOr("", "rope_scaling.mscale_all_dim", 0)
	}
	s.All(func(l *Layer) {
		l.Latent = latent
		l.KeyHeads = l.QueryHeads
		l.HeadDim, l.ValueDim = latent.Nope+latent.Rope, latent.Value
		r := &l.Rope
		r.Dim, r.Offset, r.Neox = latent.Rope, latent.Nope, false
		scale := 1.0
		if r.Yarn != nil {
			// queries and keys keep their size, and the scores get what both would have got
			grown := yarnMagnitude(1/r.Scale, multiplier)
			if multiplier != 0 {
				scale = grown * grown
			}
			r.Magnitude = 1
		}
		l.ScoreScale = float32(scale / math.Sqrt(float64(l.HeadDim)))
	})
	return s
}

func deepseek2Keys(k *Keys) {
	latent := &k.Spec.Latent
	k.base()
	k.count("attention.head_count_kv", 1) // as if it were one head of the latent ones
	k.counts("leading_dense_block_count", "first_k_dense_replace")
	k.vocab()
	k.counts("attention.q_lora_rank", "q_lora_rank")
	k.counts("attention.kv_lora_rank", "kv_lora_rank")
	k.headDims(latent.Rank+latent.Rope, latent.Rank)
	k.count("attention.key_length_mla", latent.Nope+latent.Rope)
	k.count("attention.value_length_mla", latent.Value)
	k.counts("expert_feed_forward_length", "moe_intermediate_size")
	k.counts("expert_count", "n_routed_experts")
	k.counts("expert_shared_count", "n_shared_experts")
	k.float("expert_weights_scale", "routed_scaling_factor")
	if k.f.BoolOr("", "norm_topk_prob", false) {
		k.set("expert_weights_norm", true)
	}
	k.count("rope.dimension_count", latent.Rope)
	in := k.ropeIn()
	if k.ropeKind() == "yarn" && k.has(in+"mscale_all_dim") {
		k.set("rope.scaling.yarn_log_multiplier", float32(0.1*k.f.FloatOr("", in+"mscale_all_dim", 0)))
	}
}

// deepseek2Config is that of V3 where the scores of experts go through a sigmoid.
func deepseek2Config(c *Config) {
	s, l := c.Spec, c.Spec.At(0)
	c.unset("head_dim", "partial_rotary_factor")
	c.sets("q_lora_rank", nil, "kv_lora_rank", l.Latent.Rank, "qk_rope_head_dim", l.Latent.Rope,
		"qk_nope_head_dim", l.Latent.Nope, "v_head_dim", l.Latent.Value, "attention_bias", false, "moe_layer_freq", 1)
	if l.Latent.QueryRank > 0 {
		c.set("q_lora_rank", l.Latent.QueryRank)
	}
	if m := c.deepExperts(); m.Gating == Sigmoid {
		c.class("deepseek_v3")
		c.sets("scoring_func", "sigmoid", "topk_method", "noaux_tc", "n_group", max(m.Groups, 1),
			"topk_group", max(m.GroupsUsed, 1))
	} else if m.Count > 0 {
		method := "greedy"
		if m.Groups > 1 {
			method = "group_limited_greedy"
		}
		c.sets("scoring_func", "softmax", "topk_method", method)
	}
	c.set("num_nextn_predict_layers", s.Drafts)
	scaling, scaled := c.Values["rope_scaling"].(map[string]any)
	if multiplier := c.f.FloatOr("rope.scaling.yarn_log_multiplier", "", 0); scaled && multiplier != 0 {
		scale := float32(multiplier / 0.1)
		scaling["mscale"], scaling["mscale_all_dim"] = scale, scale
	}
}
