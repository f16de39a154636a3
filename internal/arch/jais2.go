package arch

func init() { Register(&jais2) }

// jais2 is Jais 2: LayerNorm, and a feed-forward network with squared ReLU.
var jais2 = Arch{Name: "jais2", Quantize: Quantize{LargeLayers: 68}}
