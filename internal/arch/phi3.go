package arch

func init() { Register(&phi3) }

// phi3 is Phi 3, 3.5 and 4: fused maps, and factors of RoPE for contexts within and beyond the original one.
var phi3 = Arch{
	Name:       "phi3",
	HF:         []HFModel{{Type: "phi3", Class: "Phi3ForCausalLM"}},
	Vocabulary: phi3Vocabulary,
	Spec:       phi3Spec,
	Tensors: with(without(decoderTensors(nil), Query, Key, Value, Gate, Up),
		fusedQKV("self_attn.qkv_proj", nil), fusedGateUp()),
	Ignored: rotaryAngles,
}

func phi3Spec(f *Fields) Spec {
	s := decoderSpec(f)
	f.activation("hidden_act", "silu")
	f.plainWindow(&s, false)
	f.noExperts()
	return s
}
