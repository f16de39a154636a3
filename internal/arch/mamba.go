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
