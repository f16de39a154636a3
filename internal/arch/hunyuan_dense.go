package arch

import "math"

func init() { Register(&hunyuan) }

// hunyuan is HunYuan dense: norms of the heads of queries and keys after these have turned, and a base of RoPE that
// grows with the context.
var hunyuan = Arch{
	Name:       "hunyuan-dense",
	Conversion: Conversion{Keys: hunyuanKeys, DropsTiedHead: true},
	HF:         []HFModel{{Type: "hunyuan_v1_dense", Class: "HunYuanDenseV1ForCausalLM"}},
	Vocabulary: Vocabulary{EOSKey: "eod_token_id", EOSEndsTurn: true},
	Spec:       hunyuanSpec,
	Tensors: with(decoderTensors(nil),
		layerTensor(QueryNorm, "attn_q_norm", "self_attn.query_layernorm", DimHead),
		layerTensor(KeyNorm, "attn_k_norm", "self_attn.key_layernorm", DimHead)),
	Ignored: rotaryAngles,

	Config: func(c *Config) {
		c.sets("head_dim", c.Spec.HeadDim, "use_qk_norm", true, "attention_bias", false, "mlp_bias", false)
		c.assume("rope_theta as the file has it, scaled for the whole context, in place of a smaller one and rope_scaling")
	},
}

func hunyuanSpec(f *Fields) Spec {
	f.plainRope = f.HF // rope_scaling is of a kind of its own
	s := decoderSpec(f)
	f.activation("hidden_act", "silu")
	alpha := f.FloatOr("rope.scaling.alpha", "rope_scaling.alpha", 0)
	s.All(func(l *Layer) {
		l.NormAfterRope = true
		if alpha > 0 {
			l.Rope.Base *= math.Pow(alpha, float64(l.HeadDim)/float64(l.HeadDim-2))
		}
	})
	return s
}

// hunyuanContext is the length that the reference converter gives a model whose base of RoPE grows.
const hunyuanContext = 1 << 18

func hunyuanKeys(k *Keys) {
	k.base()
	if k.number("num_experts", 0) <= 1 { // one is no mixture
		k.remove("expert_count")
	}
	kind := k.ropeKind()
	if kind != "dynamic" && kind != "xdrope" {
		return
	}
	k.set("rope.freq_base", float32(k.Spec.Rope.Base))
	k.set("rope.scaling.type", "none")
	k.set("rope.scaling.factor", float32(1))
	if kind == "dynamic" {
		k.count("rope.scaling.original_context_length", hunyuanContext)
		k.count("context_length", hunyuanContext)
	}
}
