package peft

import (
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/lorafile"
	_ "github.com/peftconv/peftconv/internal/lycoris" // registers its methods
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/methods"
	_ "github.com/peftconv/peftconv/internal/virtual" // registers its methods
	"github.com/peftconv/peftconv/peft/method"
)

// Adapter is a configuration and its trained tensors, apart from any base.
type Adapter struct{ adapter *attach.Adapter }

// Scaled is an adapter with a factor on its effect.
type Scaled struct {
	Adapter *Adapter
	Scale   float64
}

// New makes an untrained adapter for a base: the options, of package method, say of which method and how. Except where
// their comments say otherwise it changes nothing yet. The initial values of a tensor depend on the seed and its name
// alone.
func New(b *Base, opt method.Options) (_ *Adapter, err error) {
	defer mapped.Guard(&err)()
	a, err := attach.New(b.base, opt)
	if err != nil {
		return nil, err
	}
	return &Adapter{a}, nil
}

// CheckOptions reports options that New would refuse for any base.
func CheckOptions(opt method.Options) error { return attach.CheckOptions(opt) }

// Load reads an adapter: a file written by Save or by a training run's checkpoint, a directory of PEFT or AdapterHub,
// or a directory's adapter_model.safetensors. Errors name the file, and what in it is not supported (ErrUnsupported) or
// does not fit together (ErrBadFile). A GGUF adapter is ErrNeedsBase: see LoadOver.
func Load(path string) (_ *Adapter, err error) {
	defer mapped.Guard(&err)()
	a, err := attach.Load(path)
	if err != nil {
		return nil, ofFile(err)
	}
	return &Adapter{a}, nil
}

// LoadOver is Load that also reads the GGUF files which llama.cpp takes as LoRA adapters. Their tensors are named and
// ordered as the base has them, which has to be given for them; for all others it may be nil. What is read is the
// adapter that Load gives of a PEFT directory from which such a file was made: without the fields that say nothing of
// its effect, and with scales that are no alpha over a rank multiplied into lora_B.
func LoadOver(path string, b *Base) (_ *Adapter, err error) {
	defer mapped.Guard(&err)()
	if b == nil || !attach.IsGGUF(path) {
		return Load(path)
	}
	a, err := lorafile.Load(path, b.base)
	if err != nil {
		return nil, ofFile(err)
	}
	return &Adapter{a}, nil
}

// Continue is LoadOver for an adapter that is to be trained further over the base, whatever it was trained over before:
// it is then one of this base, and of no training. Where a quantization-aware adapter is stored as blocks, new pairs
// change these. Errors are also those of CheckFit.
func Continue(path string, b *Base) (_ *Adapter, err error) {
	defer mapped.Guard(&err)()
	a, err := LoadOver(path, b)
	if err != nil {
		return nil, err
	}
	if err := a.CheckFit(b); err != nil {
		return nil, err
	}
	if a.adapter, err = methods.Renew(a.adapter, b.base); err != nil {
		return nil, err
	}
	return a, a.adapter.MoveTo(b.base)
}

// Save writes the adapter as one safetensors file whose metadata carries the configuration and the origin. The tensors
// are those of PEFT's adapter_model.safetensors.
func (a *Adapter) Save(path string) (err error) {
	defer mapped.Guard(&err)()
	return a.adapter.Save(path)
}

// SaveDir writes the adapter as a directory that PEFT loads: adapter_config.json, adapter_model.safetensors and a short
// README.md. Files of these names in an existing directory are replaced.
func (a *Adapter) SaveDir(dir string) (err error) {
	defer mapped.Guard(&err)()
	return a.adapter.SaveDir(dir)
}

// SaveAdapterHub writes bottleneck adapters as a directory that the adapters library loads (load_adapter). What it
// cannot compute is an error: a gated bottleneck, and the norm of parallel and serial-pfeiffer adapters, which there
// read the stream as it is.
func (a *Adapter) SaveAdapterHub(dir string, b *Base) (err error) {
	defer mapped.Guard(&err)()
	return methods.SaveAdapterHub(a.adapter, dir, b.base)
}

// CheckFit reports why the adapter cannot be attached to a base: another architecture, a module that the base does not
// have, another shape. Most of these errors are ErrWrongBase.
func (a *Adapter) CheckFit(b *Base) (err error) {
	defer mapped.Guard(&err)()
	_, err = a.adapter.Bind(b.base)
	return err
}

// TrainQuantized makes training of an adapter that is not yet trained quantization-aware: each step rounds the weights
// that its method makes to blocks of the base's own types, and merging writes these blocks. PEFT loads the adapter as
// one of its method. Errors say why a method cannot be trained so, and which weight has nothing to change. Plain LoRA
// pairs have more channels as method.QAT.
func (a *Adapter) TrainQuantized(b *Base, opt method.Quantized) (err error) {
	defer mapped.Guard(&err)()
	return a.adapter.TrainQuantized(b.base, opt)
}

// Method is the name of the adapter's method, as in the options of package method: "lora", "prefix-tuning", …. An
// adapter of P-tuning v2 is one of prefix tuning.
func (a *Adapter) Method() string { return a.adapter.MethodName() }

// PEFTType is the adapter's peft_type in adapter_config.json: "LORA", "PREFIX_TUNING", …
func (a *Adapter) PEFTType() string { return a.adapter.Config.Method }

// Quantized reports whether the adapter is quantization-aware: it trains blocks of its base.
func (a *Adapter) Quantized() bool {
	return a.adapter.Config.Quantized != nil || a.adapter.Config.Method == methods.MethodQAT
}

// InPEFT reports whether HF PEFT has the adapter's method, and so loads the directory that SaveDir writes.
func (a *Adapter) InPEFT() bool { return a.adapter.InPEFT() }

// Describe says what the adapter is in few words: "LoRA of rank 8 on 35 weights".
func (a *Adapter) Describe() string { return a.adapter.Describe() }

// ConfigJSON is the adapter's adapter_config.json.
func (a *Adapter) ConfigJSON() ([]byte, error) { return a.adapter.Config.MarshalJSON() }

// SuggestLR is a learning rate to start with for this adapter over a base.
func (a *Adapter) SuggestLR(b *Base) float64 { return a.adapter.SuggestLR(b.base) }

// VirtualTokens is the number of positions that the adapter takes beside those of the text: of virtual tokens, or of
// keys and values before every layer's attention.
func (a *Adapter) VirtualTokens() int { return a.adapter.VirtualTokens() }

// Template says where virtual tokens stand among the fields of a record: "[P*3] {question} [P*5] {answer}"; "" where
// they stand before a text.
func (a *Adapter) Template() string { return a.adapter.Config.Template }

// Classifies reports whether the adapter has a head of its own, which takes the place of the base's.
func (a *Adapter) Classifies() bool { return a.adapter.Classifies() }

// Classes are what the adapter classifies into, nil where it does not.
func (a *Adapter) Classes() *Classes { return (*Classes)(a.adapter.Config.Classes) }

// SetClasses records what the adapter is to classify into, by the words of a label. An adapter that has classes from
// its options keeps them.
func (a *Adapter) SetClasses(c *Classes) {
	if a.adapter.Config.Classes == nil {
		a.adapter.Config.Classes = (*attach.Classes)(c)
	}
}

// Param is one tensor of an adapter, a view of its memory.
type Param struct {
	Name   string // PEFT's name
	Shape  []int  // rows first, in the order of the Hugging Face checkpoint
	Data   []float32
	Frozen bool // part of the adapter, but not trained
}

// Params are the adapter's tensors, sorted by name.
func (a *Adapter) Params() []Param {
	params := make([]Param, len(a.adapter.Tensors))
	for i, p := range a.adapter.Tensors {
		params[i] = Param{Name: p.Name, Shape: p.Shape, Data: p.Data, Frozen: p.Frozen}
	}
	return params
}

// Parameters is the number of trained values.
func (a *Adapter) Parameters() int { return a.adapter.Parameters() }

// Origin says where an adapter comes from, as far as its file tells; the zero value is an adapter of unknown origin.
type Origin struct {
	Base         string    // path of the base, or its name where the adapter was loaded
	BaseSHA256   string    // Base.SHA256 of it
	Architecture string    // Base.Architecture of it
	Version      string    // of the program that wrote the file
	Master       string    // path of the master weights that codes are rounded from, where they are
	Training     *Training // how it was trained; nil for an adapter that was not trained here
}

// Training is what an adapter's file records of its training: enough to do it again, and nothing that differs from one
// run to the next.
type Training struct {
	Steps        int
	Tokens       int64
	LearningRate float64 // at its highest
	Schedule     string
	Warmup       int // steps
	WeightDecay  float64
	Clip         float64
	BatchTokens  int
	Accumulate   int
	Precision    string // of the products with frozen matrices
	Objective    string // teacher and retained text, by hashes; "": neither
	Seed         uint64
	Loss         float64  // of the last step
	BestStep     int      // after which the values are those of the adapter; 0: the last
	BaseLoss     *float64 // on the evaluation data, without the adapter
	EvalLoss     *float64 // on the evaluation data, with it
	// BlockHashes has, for a quantization-aware adapter, the SHA-256 of the blocks of each tensor that was trained with,
	// as they are after the last step.
	BlockHashes map[string]string
}

// Origin says where the adapter comes from.
func (a *Adapter) Origin() Origin {
	o := &a.adapter.Origin
	return Origin{
		Base: o.Base, BaseSHA256: o.BaseSHA256, Architecture: o.Architecture, Version: o.Version, Master: o.Master,
		Training: (*Training)(o.Training),
	}
}
