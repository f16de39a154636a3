package arch

func init() { Register(&phi3) }

// phi3 is Phi 3, 3.5 and 4: fused maps, and factors of RoPE for contexts within and beyond the original one.
var phi3 = Arch{
	Name:       "phi3",
	Conversion: Conversion{Keys: phi3Keys, First: phi3First},
	HF:         []HFModel{{Type: "phi3", Class: "Phi3ForCausalLM"}},
	Vocabulary: phi3Vocabulary,
	Spec:       phi3Spec,
	Tensors: with(without(decoderTensors(nil), Query, Key, Value, Gate, Up),
		fusedQKV("self_attn.qkv_proj", nil), fusedGateUp()),
	Ignored: rotaryAngles,

	Config: phi3Config,
}

func phi3Spec(f *Fields) Spec {
	s := decoderSpec(f)
	f.activation("hidden_act", "silu")
	f.plainWindow(&s, false)
	f.noExperts()
	return s
}

// phi3First sets the magnitude of longrope.
func phi3First(k *Keys) {
	r := &k.Spec.Rope
	if r.Long == nil {
		return
	}
	k.set("rope.scaling.attn_factor", longFactor(k.Spec.Context, r.Original))
}

func phi3Keys(k *Keys) {
	k.context()
	k.count("rope.scaling.original_context_length", k.number("original_max_position_embeddings", k.Spec.Context))
	k.sizes()
	k.rmsEps()
	k.ropeDim()
	k.set("rope.freq_base", float32(k.Spec.Rope.Base))
	k.fileType()
	k.count("attention.sliding_window", k.number("sliding_window", 0))
}

func phi3Config(c *Config) {
	c.sets("sliding_window", nil, "original_max_position_embeddings", c.Spec.Rope.Original)
	if window := c.f.IntOr("attention.sliding_window", "", 0); window > 0 {
		c.set("sliding_window", window)
		c.Spec.PerLayer(func(_ int, l *Layer) { l.Window = window })
		c.assume("a sliding window of %d tokens, as the file says, with which llama.cpp does not compute", window)
	}
	if scaling, ok := c.Values["rope_scaling"].(map[string]any); ok && scaling["rope_type"] == "longrope" {
		scaling["type"] = "longrope" // the class wants this name and, unless more is said, nothing beside the factors
		delete(scaling, "rope_type")
	}
}
