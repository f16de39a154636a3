package arch

func init() { Register(&falcon) }

// falcon is Falcon 7B to 180B: LayerNorm, attention and feed-forward network side by side, fused queries, keys and
// values.
var falcon = Arch{Name: "falcon", Quantize: Quantize{OwnMixtures: true}}
