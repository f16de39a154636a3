package arch

func init() { Register(&smollm3) }

// smollm3 is SmolLM 3: llama in which every fourth layer has no position embedding.
var smollm3 = Arch{
	Name:    "smollm3",
	HF:      []HFModel{{Type: "smollm3", Class: "SmolLM3ForCausalLM"}},
	Spec:    smollm3Spec,
	Tensors: decoderTensors(permuteHeads),
	Ignored: rotaryAngles,
}

func smollm3Spec(f *Fields) Spec {
	s := decoderSpec(f)
	f.activation("hidden_act", "silu")
	f.plainWindow(&s, true)
	f.permutedRope(&s)
	s.PerLayer(func(i int, l *Layer) {
		if (i+1)%4 == 0 {
			l.Rope.Dim = 0
		}
	})
	return s
}
