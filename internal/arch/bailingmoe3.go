package arch

func init() { Register(&bailingMoE3) }

// bailingMoE3 is Ling 3: a mixture of experts, with layers of linear attention.
var bailingMoE3 = Arch{Name: "bailingmoe3", Quantize: Quantize{StacksOthers: true}}
