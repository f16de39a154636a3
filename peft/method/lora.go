package method

// LoRA is low-rank adaptation (Hu et al. 2021) and its variants: W + scale·B·A. The zero value is rank 8, alpha 16,
// every linear map of every layer.
type LoRA struct {
	Rank         int                // 0 is 8
	Alpha        float64            // the scale is Alpha/Rank; 0 is twice the rank
	Dropout      float64            // probability of zeroing an input of A, in training
	Targets      []string           // see peft.SelectTargets; none is "all-linear"
	Layers       string             // see peft.ParseLayers; "" is all
	RSLoRA       bool               // scale by Alpha/√Rank
	DoRA         bool               // train the norms of the rows beside their directions (Liu et al. 2024)
	RankPattern  map[string]int     // ranks of single modules: name, suffix or regular expression -> rank
	AlphaPattern map[string]float64 // alphas of single modules, likewise
	// how the matrices are initialized: InitKaiming ("" is the same) or another of Inits
	Init      string
	Original  string   // for InitLoftQ: path of the model that the base was quantized from
	Bias      string   // BiasNone ("" is the same), BiasLoRA or BiasAll
	Norms     bool     // train the weights of all norms too
	Save      []string // train these whole: "embed_tokens", "lm_head", or SaveBoth
	TokenIDs  []int32  // train the rows of these tokens in the embedding table
	Seed      uint64   // of the random numbers that tensors are initialized with
	BaseModel string   // what PEFT is told to load the adapter onto; "" is what the base's metadata says
}

// Method is "lora".
func (LoRA) Method() string { return "lora" }

// Values of LoRA.Init. With the first two B is zero.
const (
	InitKaiming  = "kaiming"  // A uniform in ±1/√in, PEFT's default (init_lora_weights true)
	InitGaussian = "gaussian" // A normal with a standard deviation of 1/rank
	InitPiSSA    = "pissa"    // the largest singular values of the weight (Meng et al. 2024)
	InitOLoRA    = "olora"    // the first columns of the weight's QR decomposition (Büyükakyüz 2024)
	InitLoftQ    = "loftq"    // the quantization error of the weight, cut to the rank (Li et al. 2023)
)

// Inits are all values of LoRA.Init.
var Inits = []string{InitKaiming, InitGaussian, InitPiSSA, InitOLoRA, InitLoftQ}

// SaveBoth in LoRA.Save is the embedding table and the output head, whatever their names.
const SaveBoth = "both"

// Values of LoRA.Bias: which biases of the base are trained beside the pairs.
const (
	BiasNone = "none"
	BiasLoRA = "lora_only" // those of the linear maps with a pair
	BiasAll  = "all"
)
