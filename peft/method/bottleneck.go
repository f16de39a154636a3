package method

// Bottleneck is bottleneck adapters: small networks after or beside attention and the feed-forward network. A zero
// field is the default that its comment says.
type Bottleneck struct {
	Placement  string   // Parallel, SerialPfeiffer or SerialHoulsby; "" is Parallel
	Bottleneck int      // width between the projections; 0 is 32
	Activation string   // "relu", "gelu", "silu" or ActivationSwiGLU; "" is silu
	Scale      float64  // multiplies what an adapter gives; 0 is 1
	Parts      []string // of a layer: "attention", "ffn"; nil is ffn, for SerialHoulsby both
	Input      string   // InputNorm or InputStream; "" is InputNorm
	Layers     string   // see peft.ParseLayers; "" is all
	Seed       uint64   // of the random numbers that tensors are initialized with
	BaseModel  string   // what PEFT is told to load the adapter onto; "" is what the base's metadata says
}

// Method is "adapter".
func (Bottleneck) Method() string { return "adapter" }

// Values of Bottleneck.Placement. A is up(f(down(·))), x the stream, P a part of a layer: attention or FFN.
const (
	SerialHoulsby  = "serial-houlsby"  // x + P + s·A(P): after the part, before it is added (Houlsby et al. 2019)
	SerialPfeiffer = "serial-pfeiffer" // x' + s·A(x'), x' = x + P: after the addition (Pfeiffer et al. 2020)
	Parallel       = "parallel"        // x + P + s·A(x): beside the part (He et al. 2022)
)

// Values of Bottleneck.Input: what a serial-pfeiffer or parallel adapter reads.
const (
	// the stream after an RMS norm: the part's own for parallel, a trained one for serial-pfeiffer
	InputNorm   = "norm"
	InputStream = "stream" // the stream as it is, as in AdapterHub
)

// ActivationSwiGLU makes the down-projection two: silu(gate(x))·down(x).
const ActivationSwiGLU = "swiglu"
