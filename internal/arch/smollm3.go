package arch

func init() { Register(&smollm3) }

// smollm3 is SmolLM 3: llama in which every fourth layer has no position embedding.
var smollm3 = Arch{
	Name:       "smollm3",
	Conversion: Conversion{Keys: llamaKeys},
	HF:         []HFModel{{Type: "smollm3", Class: "SmolLM3ForCausalLM"}},
	Vocabulary: llamaVocabulary,
	Spec:       smollm3Spec,
	Tensors:    decoderTensors(permuteHeads),
	Ignored:    rotaryAngles,

	Config: smollm3Config,
}

func smollm3Spec(f *Fields) Spec {
	s := decoderSpec(f)
	f.activation("hidden_act", "silu")
	f.plainWindow(&s, true)
	f.permutedRope(&s)
	turns, listed := f.value("", "no_rope_layers") // 1 in layers that do turn
	list, _ := turns.ints()
	if listed && len(list) < s.Layers {
		f.Fail("no_rope_layers has %d numbers, expected %d", len(list), s.Layers)
		return s
	}
	interval := max(f.IntOr("", "no_rope_layer_interval", 4), 1)
	s.PerLayer(func(i int, l *Layer) {
		if listed && list[i] == 0 || !listed && (i+1)%interval == 0 {
			l.Rope.Dim = 0
		}
	})
	return s
}

func smollm3Config(c *Config) {
	turns := make([]int, c.Spec.Layers)
	for i := range turns {
		if c.Spec.At(i).Rope.Dim > 0 {
			turns[i] = 1
		}
	}
	c.plainWindows()
	c.layerTypes()
	c.sets("no_rope_layers", turns, "no_rope_layer_interval", 4)
}
