package arch

func init() { Register(&olmo) }

// olmo is OLMo 1: norms without weights, and clamped queries, keys and values.
var olmo = Arch{Name: "olmo", Quantize: Quantize{LargeLayers: 80}}
