package arch

func init() { Register(&deci) }

// deci is llama with layers that differ: each may be without attention, or have a linear map in its place.
var deci = Arch{Name: "deci", Quantize: Quantize{LargeLayers: 80}}
