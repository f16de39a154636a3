package arch

// mamba reads a Mamba-2 mixer, with the names of config.json.
func (f *Fields) mamba(heads, headDim, groups, state, taps string) Mamba {
	m := Mamba{
		Heads: f.IntOr("ssm.time_step_rank", heads, 0), Groups: f.IntOr("ssm.group_count", groups, 1),
		State: f.IntOr("ssm.state_size", state, 0), Taps: f.IntOr("ssm.conv_kernel", taps, 0),
	}
	if f.HF {
		m.HeadDim = f.IntOr("", headDim, 0)
	} else {
		m.HeadDim = f.IntOr("ssm.inner_size", "", 0) / max(m.Heads, 1)
	}
	return m
}

// mambaTensors are those of a Mamba-2 mixer, whose names begin so in Hugging Face files.
func mambaTensors(in string) []Tensor {
	vector := func(role Role, inGGUF, inHF string, shape ...Dim) Tensor {
		return layerParameter(role, inGGUF, in+inHF, shape...)
	}
	norm := layerTensor(RecurrentNorm, "ssm_norm", in+"norm", DimGroups, DimGroupInner)
	norm.Bias = false
	return []Tensor{
		layerTensor(RecurrentIn, "ssm_in", in+"in_proj", DimRecurrentIn, DimWidth),
		vector(RecurrentConv, "ssm_conv1d.weight", "conv1d.weight", DimRecurrentQKV, DimRecurrentTaps),
		vector(RecurrentConvBias, "ssm_conv1d.bias", "conv1d.bias", DimRecurrentQKV),
		vector(RecurrentTimeBias, "ssm_dt.bias", "dt_bias", DimRecurrentHeads),
		vector(RecurrentDecay, "ssm_a", "A_log", DimRecurrentHeads, DimOne),
		vector(RecurrentSkip, "ssm_d", "D", DimRecurrentHeads, DimOne),
		norm,
		layerTensor(RecurrentOut, "ssm_out", in+"out_proj", DimWidth, DimRecurrentInner),
	}
}

// mamba sets the sizes of the Mamba-2 mixers.
func (k *Keys) mamba() {
	for i := range k.Spec.Layers {
		l := k.Spec.At(i)
		if l.Mixer != Mamba2 {
			continue
		}
		m := &l.Mamba
		k.count("ssm.conv_kernel", m.Taps)
		k.count("ssm.state_size", m.State)
		k.count("ssm.group_count", m.Groups)
		k.count("ssm.inner_size", m.Inner())
		k.count("ssm.time_step_rank", m.Heads)
		return
	}
}

// ropeDimOfHead sets how many values of a head turn: all.
func (k *Keys) ropeDimOfHead() { k.count("rope.dimension_count", k.headDim()) }

// keyHeadsOfLayers sets how many key heads each layer has, 0 where it has no attention.
func (k *Keys) keyHeadsOfLayers() {
	heads := make([]int32, k.Spec.Layers)
	for i := range heads {
		if l := k.Spec.At(i); l.Mixer == SelfAttention {
			heads[i] = int32(l.KeyHeads)
		}
	}
	k.set("attention.head_count_kv", heads)
}

// expand is how often a mixer is as wide as the stream.
func (c *Config) expand(m *Mamba) any {
	if m.Inner()%c.Spec.Width == 0 {
		return m.Inner() / c.Spec.Width
	}
	return float64(m.Inner()) / float64(c.Spec.Width)
}
