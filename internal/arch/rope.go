package arch

import "math"

// rope reads rotary position embedding of heads of headDim values, over halves of the head.
func rope(f *Fields, headDim int) Rope {
	r := Rope{
		Dim:   f.IntOr("rope.dimension_count", "", headDim),
		Base:  f.FloatOr("rope.freq_base", "rope_theta", 10000),
		Scale: 1, Magnitude: 1,
		Neox:     true,
		Original: f.IntOr("context_length", "max_position_embeddings", 0),
	}
	if f.HF {
		r.Dim = partialDim(f, headDim)
		if !f.plainRope {
			scaleHF(f, &r)
		}
	} else {
		scaleGGUF(f, &r)
	}
	return r
}

// partialDim is how many values of a head turn, by the names that config.json has for their share.
func partialDim(f *Fields, headDim int) int {
	for _, name := range []string{"partial_rotary_factor", "rotary_pct", "rope_parameters.partial_rotary_factor"} {
		if share := f.FloatOr("", name, 0); share != 0 {
			return int(float64(headDim) * share)
		}
	}
	if f.share != 0 {
		return int(float64(headDim) * f.share)
	}
	return headDim
}

// defaultYarn are the ends of the ramp that llama.cpp has for all architectures but two.
var defaultYarn = Yarn{BetaFast: 32, BetaSlow: 1}

// scaleGGUF reads what positions are multiplied by, and YaRN.
func scaleGGUF(f *Fields, r *Rope) {
	kind := f.Text("rope.scaling.type", "")
	factor := f.FloatOr("rope.scaling.factor", "", f.FloatOr("rope.scale_linear", "", 1))
	r.Original = f.IntOr("rope.scaling.original_context_length", "", r.Original)
	r.Magnitude = f.FloatOr("rope.scaling.attn_factor", "", 1)
	switch kind {
	case "none":
		return
	case "", "linear", "longrope":
	case "yarn":
		yarn := defaultYarn
		r.Yarn = &yarn
	default:
		f.Fail("%s is %q, %w: none, linear, yarn and longrope are", f.Name("rope.scaling.type", ""), kind, ErrUnsupported)
	}
	if factor != 0 {
		r.Scale = 1 / factor
	}
	if r.Yarn != nil {
		r.Magnitude *= yarnMagnitude(1/r.Scale, 1)
	}
}

// yarnMagnitude is what YaRN multiplies queries and keys with for contexts that are longer by a factor.
func yarnMagnitude(factor, multiplier float64) float64 {
	if factor <= 1 {
		return 1
	}
	return 1 + 0.1*multiplier*math.Log(factor)
}

// longropeMagnitude is what LongRoPE multiplies queries and keys with for contexts that are longer by a factor than the
// original one.
func longropeMagnitude(factor, original float64) float64 {
	if factor <= 1 {
		return 1
	}
	return math.Sqrt(1 + math.Log(factor)/math.Log(original))
}

// scaleHF reads config.json's rope_scaling, or rope_parameters as it is called since version 5 of transformers.
func scaleHF(f *Fields, r *Rope) {
	in := "rope_scaling."
	for _, name := range []string{"rope_parameters.", "rope_parameters.full_attention."} {
		if f.Text("", name+"rope_type") != "" {
			in = name
			r.Base = f.FloatOr("", in+"rope_theta", r.Base)
		}
	}
	number := func(name string) float64 { return f.FloatOr("", in+name, 0) }
	kind := f.Text("", in+"rope_type")
	if kind == "" {
		kind = f.Text("", in+"type")
	}
	factor, low, high := number("factor"), number("low_freq_factor"), number("high_freq_factor")
	original := number("original_max_position_embeddings")
	if original == 0 {
		original = f.FloatOr("", "original_max_position_embeddings", 0)
	}
	switch {
	case kind == "" || kind == "default":
	case kind == "linear" && factor > 0:
		r.Scale = 1 / factor
	case kind == "llama3" && factor > 0 && low > 0 && high > low && original > 0:
		r.Factors = llama3Factors(r, factor, low, high, original)
	case kind == "yarn" && factor > 0:
		r.Scale = 1 / factor
		yarn := Yarn{BetaFast: f.FloatOr("", in+"beta_fast", 32), BetaSlow: f.FloatOr("", in+"beta_slow", 1)}
		r.Yarn = &yarn
		if original > 0 {
			r.Original = int(original)
		}
		r.Magnitude = f.FloatOr("", in+"attention_factor", yarnMagnitude(factor, 1))
	case (kind == "longrope" || kind == "su") && original > 0:
		r.Long, r.Short, r.Original = f.Floats(in+"long_factor"), f.Floats(in+"short_factor"), int(original)
		if factor == 0 {
			factor = f.FloatOr("", "max_position_embeddings", 0) / original
		}
		r.Magnitude = longropeMagnitude(factor, original)
		r.Magnitude = f.FloatOr("", in+"attention_factor", r.Magnitude)
	default:
		f.Fail("%s %q with factor %g is %w, expected linear, llama3, yarn or longrope", in[:len(in)-1], kind, factor,
			ErrUnsupported)
	}
}

// llama3Factors divide the slow pairs by factor, leave the fast ones and blend between: low and high are how often a
// pair turns within original positions at the ends of that. Every step is rounded to float32, as in the conversion to
// GGUF, which makes a tensor of them.
func llama3Factors(r *Rope, factor, low, high, original float64) []float32 {
	factors := make([]float32, r.Dim/2)
	for i := range factors {
		exponent := float32(2*i) / float32(r.Dim)
		frequency := 1 / float32(math.Pow(r.Base, float64(exponent)))
		wave := float64(float32(1/frequency) * float32(2*math.Pi))
		switch {
		case wave < original/high:
			factors[i] = 1
		case wave > original/low:
			factors[i] = float32(factor)
		default:
			turns := float32(float32(1/float32(wave)) * float32(original))
			smooth := (turns - float32(low)) / float32(high-low)
			factors[i] = 1 / (float32((1-smooth)/float32(factor)) + smooth)
		}
	}
	return factors
}
