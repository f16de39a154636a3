package method

// QAT is quantization-aware training of plain LoRA pairs that requantize the blocks of a base (peftconv train
// --method lora --qat). The zero value is rank 8, alpha 16, channels by type, every linear map of every layer.
type QAT struct {
	Channels  string   // a channel, several joined with +, or ChannelAuto ("" is the same)
	Rank      int      // 0 is 8
	Alpha     float64  // 0 is twice the rank
	Targets   []string // see peft.SelectTargets; none is "all-linear"
	Layers    string   // see peft.ParseLayers; "" is all
	Dither    string   // of ChannelCode: DitherUniform ("" is the same) or DitherNone
	Seed      uint64   // of the random numbers that tensors are initialized with, and of the dither
	Master    bool     // codes are rounded to nearest from the master weights (peft.Base.OpenMaster)
	BaseModel string   // what the file says that the base is; "" is what the base's metadata says
}

// Method is "qat".
func (QAT) Method() string { return "qat" }

// Quantized says how an adapter of another method is trained quantization-aware (peft.Adapter.TrainQuantized). The zero
// value rounds stochastically, with channels by method and type.
type Quantized struct {
	Channels string // ChannelAuto ("" is the same), ChannelCode or ChannelRow
	Dither   string // DitherUniform ("" is the same) or DitherNone
	Seed     uint64 // of the dither
	Master   bool   // codes are rounded to nearest from the master weights (peft.Base.OpenMaster)
}

// Values of QAT.Channels and Quantized.Channels: what of a block is trained.
const (
	ChannelScale  = "scale"  // the scale of each group of weights, and its offset with it, by a factor 1 + s·B·A
	ChannelOffset = "offset" // what is added to each weight of a group, by s·B·A, in types with minima
	ChannelRow    = "row"    // the scales of a row, by a factor of its own
	ChannelCode   = "code"   // the code of each weight, rounded from its value + s·B·A
	ChannelAuto   = "auto"   // for each tensor the best channels of its type
)

// Values of QAT.Dither and Quantized.Dither: the threshold at which a weight of ChannelCode is rounded up.
const (
	DitherUniform = "uniform" // stochastic: a random threshold for each weight, so that small changes are right on average
	DitherNone    = "none"    // to nearest: changes of less than half a step change no code
)
