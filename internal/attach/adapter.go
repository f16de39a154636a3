package attach

import (
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
)

// Version is the version of this library; files that it writes record it.
const Version = "0.1.0"

// Adapter is a configuration and its trained tensors, apart from any base.
type Adapter struct {
	Config Config
	Origin Origin

	// InFile is the type that all numbers have in the file that the adapter was read from: F32, F16 or BF16, F32 also
	// where they have others.
	InFile gguf.Type
	// Stored is the type of the numbers in files that Save and SaveDir write: F32, F16 or BF16. The zero value is F32.
	Stored gguf.Type

	Flat    []float32 // all parameters, end to end in the order of params
	Tensors []Param   // views of flat, sorted by name
	Method  Method

	copies baseCopies

	lent *Bound // while it is trained: see Lend
}

// Origin says where an adapter comes from, as far as its file tells; the zero value is an adapter of unknown origin.
type Origin struct {
	Base         string    // path of the base, or its name where the adapter was loaded
	BaseSHA256   string    // Base.SHA256 of it
	Architecture string    // Base.Architecture of it
	Version      string    // of the program that wrote the file
	Master       string    // path of the master weights that codes are rounded from, where they are
	Training     *Training // how it was trained; nil for an adapter that was not trained here
}

// Training is what an adapter's file records of its training: enough to do it again, and nothing that differs from
// one run to the next.
type Training struct {
	Steps        int      `json:"steps"`
	Tokens       int64    `json:"tokens"`
	LearningRate float64  `json:"learning_rate"`
	Schedule     string   `json:"schedule"`
	Warmup       int      `json:"warmup"`
	WeightDecay  float64  `json:"weight_decay"`
	Clip         float64  `json:"clip"`
	BatchTokens  int      `json:"batch_tokens"`
	Accumulate   int      `json:"accumulate"`
	Precision    string   `json:"precision"`           // of the products with frozen matrices
	Objective    string   `json:"objective,omitempty"` // teacher and retained text, by hashes; "": neither
	Seed         uint64   `json:"seed"`
	Loss         float64  `json:"loss"`                // of the last step
	BestStep     int      `json:"best_step,omitempty"` // after which the values are those of the adapter; 0: the last
	BaseLoss     *float64 `json:"base_loss,omitempty"` // on the evaluation data, without the adapter
	EvalLoss     *float64 `json:"eval_loss,omitempty"` // on the evaluation data, with it
	// BlockHashes has, for a quantization-aware adapter, the SHA-256 of the blocks of each tensor that was trained with,
	// as they are after the last step.
	BlockHashes map[string]string `json:"snapped_sha256,omitempty"`
}

// Param is one trained tensor, a view of the adapter's memory.
type Param struct {
	Name  string // PEFT's name
	Shape []int
	Data  []float32

	Frozen bool    // part of the adapter, but not trained
	Rate   float64 // > 0: multiplies the learning rate
}

// Rows is the first dimension.
func (p *Param) Rows() int { return p.Shape[0] }

// Cols is the number of values in a row.
func (p *Param) Cols() int { return elements(p.Shape[1:]) }

// Params are the adapter's tensors, sorted by name. Their rows are in the order of the Hugging Face checkpoint.
func (a *Adapter) Params() []Param { return a.Tensors }

// Parameters is the number of trained values.
func (a *Adapter) Parameters() int {
	n := 0
	for i := range a.Tensors {
		if !a.Tensors[i].Frozen {
			n += len(a.Tensors[i].Data)
		}
	}
	return n
}

// Allocate gives an adapter the memory for tensors of the given names and shapes.
func (a *Adapter) Allocate(shapes map[string][]int) {
	n := 0
	a.Tensors = a.Tensors[:0]
	for name, shape := range shapes {
		n += elements(shape)
		a.Tensors = append(a.Tensors, Param{Name: name, Shape: shape})
	}
	slices.SortFunc(a.Tensors, func(x, y Param) int { return strings.Compare(x.Name, y.Name) })
	a.Flat = make([]float32, n)
	a.Tensors = Views(a.Tensors, a.Flat)
}

// Reshaped is the adapter in another configuration and with tensors of the given names and shapes: those that it has
// keep their values, others are zero.
func (a *Adapter) Reshaped(c Config, shapes map[string][]int) (*Adapter, error) {
	out := &Adapter{Config: c, Origin: a.Origin, InFile: a.InFile, Stored: a.Stored}
	out.Allocate(shapes)
	for i := range out.Tensors {
		p := &out.Tensors[i]
		if at := slices.IndexFunc(a.Tensors, func(q Param) bool { return q.Name == p.Name }); at >= 0 {
			copy(p.Data, a.Tensors[at].Data)
		}
	}
	var err error
	out.Method, err = NewMethod(&out.Config, out.Tensors)
	return out, err
}

// Views are the same tensors over another flat memory.
func Views(params []Param, flat []float32) []Param {
	out := slices.Clone(params)
	at := 0
	for i := range out {
		end := at + elements(out[i].Shape)
		out[i].Data = flat[at:end:end]
		at = end
	}
	return out
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}
