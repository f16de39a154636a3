package arch

import "math"

// rope reads rotary position embedding of heads of headDim values, over halves of the head.
func rope(f *Fields, headDim int) Rope {
	r := Rope{
		Dim:   f.IntOr("rope.dimension_count", "", headDim),
		Base:  f.FloatOr("rope.freq_base", "rope_theta", 10000),
		Scale: 1,
		Neox:  true,
	}
	if f.HF {
		scaleHF(f, &r)
	} else {
		scaleGGUF(f, &r)
	}
	return r
}

// scaleGGUF reads what positions are multiplied by.
func scaleGGUF(f *Fields, r *Rope) {
	kind := f.Text("rope.scaling.type", "")
	factor := f.FloatOr("rope.scaling.factor", "", f.FloatOr("rope.scale_linear", "", 1))
	switch {
	case kind == "none" || factor == 0:
	case kind == "" || kind == "linear":
		r.Scale = 1 / factor
	default:
		f.Fail("%s is %q, %w: none and linear are", f.Name("rope.scaling.type", ""), kind, ErrUnsupported)
	}
}

// scaleHF reads config.json's rope_scaling: none, linear, or Llama 3's.
func scaleHF(f *Fields, r *Rope) {
	number := func(name string) float64 { return f.FloatOr("", "rope_scaling."+name, 0) }
	kind := f.Text("", "rope_scaling.rope_type")
	if kind == "" {
		kind = f.Text("", "rope_scaling.type")
	}
	factor, low, high := number("factor"), number("low_freq_factor"), number("high_freq_factor")
	original := number("original_max_position_embeddings")
	switch {
	case kind == "" || kind == "default":
	case kind == "linear" && factor > 0:
		r.Scale = 1 / factor
	case kind == "llama3" && factor > 0 && low > 0 && high > low && original > 0:
		r.Factors = llama3Factors(r, factor, low, high, original)
	default:
		f.Fail("rope_scaling %q with factor %g is %w, expected linear or llama3", kind, factor, ErrUnsupported)
	}
}

// llama3Factors divide the slow pairs by factor, leave the fast ones and blend between: low and high are how often a
// pair turns within original positions at the ends of that.
func llama3Factors(r *Rope, factor, low, high, original float64) []float32 {
	factors := make([]float32, r.Dim/2)
	for i := range factors {
		wave := 2 * math.Pi * math.Pow(r.Base, 2*float64(i)/float64(r.Dim))
		switch {
		case wave < original/high:
			factors[i] = 1
		case wave > original/low:
			factors[i] = float32(factor)
		default:
			smooth := (original/wave - low) / (high - low)
			factors[i] = float32(1 / ((1-smooth)/factor + smooth))
		}
	}
	return factors
}
