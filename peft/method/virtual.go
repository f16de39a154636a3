package method

// PromptTuning is virtual tokens before the input (Lester et al. 2021). The zero value is 20 of them that start as the
// embeddings of random tokens.
type PromptTuning struct {
	VirtualTokens int // 0: 20, or as many as Text has
	// PromptInitRandom, PromptInitVocab or PromptInitText; "": text where there is one, else sampled
	Init      string
	Text      string // what PromptInitText starts from
	Seed      uint64 // of the random tokens or numbers that it starts from
	BaseModel string // what PEFT is told to load the adapter onto; "" is what the base's metadata says
}

// Method is "prompt-tuning".
func (PromptTuning) Method() string { return "prompt-tuning" }

// Values of PromptTuning.Init.
const (
	PromptInitRandom = "random"        // normal, of the scale of the base's embeddings
	PromptInitVocab  = "sampled-vocab" // embeddings of random tokens
	PromptInitText   = "text"          // embeddings of the tokens of a text, repeated or cut off
)

// PrefixTuning is keys and values before the attention of every layer (Li, Liang 2021). The zero value is 20 of them in
// each layer, initialized as the base's own for random tokens.
type PrefixTuning struct {
	PromptTuning // number and initialization
	// train the prefix through a two-layer network, which is dropped after training; it starts at random
	Projection    bool
	EncoderHidden int // width between the two; 0: the base's
}

// Method is "prefix-tuning".
func (PrefixTuning) Method() string { return "prefix-tuning" }

// PTuning is virtual tokens that an encoder makes (Liu et al. 2021). The zero value is 20 of them before the text, made
// by a two-layer bidirectional LSTM.
type PTuning struct {
	VirtualTokens int // 0: as many as the template has, or 20
	// where they stand among the fields of a record: "[P*3] {question} [P*5] {answer}"; "": before the text
	Template  string
	Encoder   string  // EncoderLSTM ("" is the same) or EncoderMLP
	Hidden    int     // width of the encoder; 0: that of the base, at most 256
	Layers    int     // of the LSTM; 0: 2
	Dropout   float64 // probability of dropping a value between the layers of the LSTM
	Seed      uint64  // of the random numbers that tensors are initialized with
	BaseModel string  // what PEFT is told to load the adapter onto; "" is what the base's metadata says
}

// Method is "p-tuning".
func (PTuning) Method() string { return "p-tuning" }

// Values of PTuning.Encoder.
const (
	EncoderLSTM = "lstm" // a bidirectional LSTM, then two layers
	EncoderMLP  = "mlp"  // three layers
)

// PTuningV2 is P-tuning v2 (Liu et al. 2022): learned vectors at every block's input, of which a prefix stays after the
// training. The zero value is 20 vectors that start as those of random tokens.
type PTuningV2 struct {
	PromptTuning        // number and initialization
	Form         string // FormHidden ("" is the same) or FormKV
	// Labels are the classes of a classification, two or more; nil: the adapter is one of a language model. A linear
	// head over the last token is trained for them.
	Labels     []string
	LabelField string // the field of a record that holds its label; "": label
	Words      bool   // predict the label itself, as words, in place of a head
}

// Method is "p-tuning-v2".
func (PTuningV2) Method() string { return "p-tuning-v2" }

// Values of PTuningV2.Form.
const (
	FormHidden = "hidden" // vectors at each block's input, of which its own norm and projections make keys and values
	FormKV     = "kv"     // keys and values, as in the authors' code
)
