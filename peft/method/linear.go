package method

// IA3 is (IA)³ (Liu et al. 2022): vectors that scale outputs or inputs of linear maps. The zero value scales keys,
// values and the inner activations of feed-forward networks: of a llama k_proj, v_proj and the input of down_proj.
type IA3 struct {
	Placement
	FeedForward []string // those of the targets whose input is scaled, by name; nil: the down-projections
}

// Method is "ia3".
func (IA3) Method() string { return "ia3" }

// LNTuning trains the weights of norms (Zhao et al. 2023). The zero value is every norm.
type LNTuning struct {
	Targets []string // of the norms, by the last parts of their names: input_layernorm, post_attention_layernorm, norm
	// Layers is as for peft.ParseLayers. Where it leaves layers out the norm after the last is left out too, unless
	// Targets names it.
	Layers    string
	BaseModel string // what PEFT is told to load the adapter onto; "" is what the base's metadata says
}

// Method is "ln-tuning".
func (LNTuning) Method() string { return "ln-tuning" }

// BitFit trains biases (Ben Zaken et al. 2022). The zero value is a bias on every linear map that can have one in the
// base's architecture.
type BitFit struct{ Placement }

// Method is "bitfit".
func (BitFit) Method() string { return "bitfit" }

// LoHa is the low-rank Hadamard product (Hyeon-Woo et al. 2021). The zero value is rank 8, alpha 16, every linear map
// of every layer.
type LoHa struct {
	Placement
	Rank  int     // of each of the two factors; 0 is 8. The change has a rank of up to its square
	Alpha float64 // the change is scaled by Alpha/Rank; 0 is twice the rank
}

// Method is "loha".
func (LoHa) Method() string { return "loha" }

// LoKr is the low-rank Kronecker product. The zero value is rank 8, alpha 16, every linear map of every layer, with
// both sides of each weight split as evenly as they can be.
type LoKr struct {
	Placement
	Rank          int     // of w2, and of w1 with DecomposeBoth, where these are larger; 0 is 8
	Alpha         float64 // the change is scaled by Alpha/Rank; 0 is twice the rank
	Factor        int     // what the first of the two factors of each side should be; 0 or -1: near the square root
	DecomposeBoth bool    // w1 is a product of low rank too
}

// Method is "lokr".
func (LoKr) Method() string { return "lokr" }

// VeRA is vectors on random matrices that all weights share (Kopiczko et al. 2024). The zero value is rank 256 on every
// linear map of every layer.
type VeRA struct {
	Placement
	Rank    int     // 0 is 256; only vectors are trained
	Dropout float64 // probability of zeroing an input of A, in training
	Start   float64 // of all values of the vectors between the matrices; 0 is 0.1
	Key     uint32  // seed of the matrices; the same seed gives those of PEFT
}

// Method is "vera".
func (VeRA) Method() string { return "vera" }

// OFT is orthogonal fine-tuning (Qiu et al. 2023): a rotation of the inputs, in blocks. The zero value rotates blocks
// of 32 inputs of every linear map, by PEFT's series.
type OFT struct {
	Placement
	// inputs that are rotated together, moved to the nearest divisor of the inputs of each weight; 0 is 32
	BlockSize int
	// Cayley's transform itself, with an inverse for each block, in place of the first terms of a series
	Exact       bool
	Terms       int     // of the series; 0 is 5
	Share       bool    // one rotation for all blocks of a weight
	Constrained bool    // blocks stay within Eps of no rotation (COFT)
	Eps         float64 // largest distance from it, times the root of the number of blocks; 0 is 6e-5
}

// Method is "oft".
func (OFT) Method() string { return "oft" }

// AdaLoRA is LoRA whose ranks are allocated in training (Zhang et al. 2023). The zero value is rank 12 on every linear
// map of every layer, reduced to 8 on average between a tenth and seven tenths of the run.
type AdaLoRA struct {
	Placement
	Rank       int     // of a weight at the end, on average; 0 is 8
	StartRank  int     // of every weight at the start; 0 is half as much again as Rank
	Alpha      float64 // the change is scaled by Alpha/StartRank; 0 is twice StartRank
	Dropout    float64 // probability of zeroing an input of A, in training
	Warmup     float64 // share of the steps before ranks are reduced; 0 is 0.1, less than 0 is none
	Final      float64 // share of the steps at the end, with fixed ranks; 0 is 0.3, less than 0 is none
	Interval   int     // steps from one allocation to the next; 0 is 1
	Orthogonal float64 // weight of the term that keeps A and B orthogonal; 0 is 0.1, less than 0 is none
}

// Method is "adalora".
func (AdaLoRA) Method() string { return "adalora" }
