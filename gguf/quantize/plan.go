package quantize

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/imatrix"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/quant"
)

// What a plan is refused for and an option would allow.
var (
	// ErrQuantized: a tensor is quantized already, and Options.AllowRequantize is not set.
	ErrQuantized = errors.New("quantizing it again, which costs more than quantizing the original, has to be allowed")
	// ErrNeedsImportance: a type is of no use without an importance matrix (Options.Imatrix), or needs an entry in it.
	ErrNeedsImportance = errors.New("needs an importance matrix")
)

// Plan is the output to write.
type Plan struct {
	Tensors []Tensor // in the order in which they are written

	file   *gguf.File
	reader Reader
	opt    settings
	model  traits
	meta   *gguf.Metadata // of the whole model
	groups [][]*Tensor    // the tensors of each file of the output; nil: there is one file
}

// Tensor is a tensor of a plan.
type Tensor struct {
	Name     string
	Shape    []int64
	From, To gguf.Type
	Bytes    int64 // of the data in To
	Weighted bool  // errors are weighted by an importance matrix
	Fallback bool  // the wanted type does not fit the rows

	role       role
	source     *gguf.Tensor
	importance []float32 // one value a column, matrix after matrix; nil: all are equal
}

// MarshalJSON writes an object with the names of the types.
func (t *Tensor) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // which the encoder that calls this does where it should
	err := enc.Encode(struct {
		Name     string  `json:"name"`
		Shape    []int64 `json:"shape"`
		From     string  `json:"from"`
		To       string  `json:"to"`
		Bytes    int64   `json:"bytes"`
		Weighted bool    `json:"weighted,omitempty"`
		Fallback bool    `json:"fallback,omitempty"`
	}{t.Name, t.Shape, t.From.String(), t.To.String(), t.Bytes, t.Weighted, t.Fallback})
	return b.Bytes(), err
}

// NewPlan chooses the types of a model's tensors. It refuses what cannot be done: types that need an importance matrix
// where there is none (ErrNeedsImportance), tensors that are quantized already, unless that is allowed (ErrQuantized),
// and shapes that no type fits. The plan is valid until f is closed.
func NewPlan(f *gguf.File, opt Options) (_ *Plan, err error) {
	defer mapped.Guard(&err)()
	if opt.Type.Name == "" {
		return nil, errors.New("no file type to quantize to is given")
	}
	return newPlan(f, opt)
}

func newPlan(f *gguf.File, opt Options) (*Plan, error) {
	s, err := newSettings(opt)
	if err != nil {
		return nil, err
	}
	p := &Plan{file: f, reader: opt.Reader, opt: s, model: traitsOf(f)}
	if p.reader == nil {
		p.reader = inFile{f}
	}
	p.model.imatrix = opt.Imatrix != nil
	tensors := p.order()
	if len(tensors) == 0 {
		return nil, fmt.Errorf("%s holds no tensors", f.Path)
	}
	p.Tensors = make([]Tensor, 0, len(tensors))
	m := newMixer(tensors, p.model, &p.opt)
	for _, t := range tensors {
		to, err := m.choose(t)
		if err != nil {
			return nil, err
		}
		if err := p.add(t, to); err != nil {
			return nil, err
		}
	}
	if p.keepSplit() {
		p.groups = p.asInput()
	}
	return p, p.setMetadata()
}

// NewCopyPlan plans to write a model as it is: the types, order and metadata of f, and the data that r gives. name is
// that of the type of most tensors.
func NewCopyPlan(f *gguf.File, r Reader, name string) *Plan {
	p := &Plan{file: f, reader: r, meta: f.Meta}
	p.opt.Type.Name = name
	p.Tensors = make([]Tensor, 0, len(f.Tensors))
	for _, t := range f.Tensors {
		p.Tensors = append(p.Tensors, Tensor{Name: t.Name, Shape: t.Shape, From: t.Type, To: t.Type, Bytes: t.Size(),
			source: t})
	}
	return p
}

// Split spreads the output over files of at most that many bytes of tensors, in their order; a larger tensor gets a
// file of its own.
func (p *Plan) Split(maxBytes int64) {
	sizes := func(i int) int64 { return p.Tensors[i].Bytes }
	p.groups = nil
	all := p.all()
	for _, n := range gguf.SplitSizes(len(all), sizes, 1, 0, maxBytes) {
		p.groups = append(p.groups, all[:n])
		all = all[n:]
	}
}

// all are the tensors.
func (p *Plan) all() []*Tensor {
	all := make([]*Tensor, len(p.Tensors))
	for i := range p.Tensors {
		all[i] = &p.Tensors[i]
	}
	return all
}

// asInput are the tensors of each file where they stay as in the input.
func (p *Plan) asInput() [][]*Tensor {
	groups := make([][]*Tensor, len(p.file.Shards))
	for i := range groups {
		for j := range p.Tensors {
			if t := &p.Tensors[j]; t.source.Shard() == p.file.Shards[i] {
				groups[i] = append(groups[i], t)
			}
		}
	}
	return groups
}

// order is the model's tensors in the order in which they are written: where files are kept apart, that of the files.
func (p *Plan) order() []*gguf.Tensor {
	if p.keepSplit() {
		return p.file.Tensors
	}
	return p.model.sorted(p.file.Tensors)
}

func (p *Plan) keepSplit() bool { return p.opt.KeepSplit && len(p.file.Shards) > 1 }

// add adds a tensor. Its shape is without the dimensions of 1 at the end, which ggml does not count.
func (p *Plan) add(t *gguf.Tensor, to chosen) error {
	out := Tensor{Name: t.Name, Shape: t.Shape[:max(1, dims(t))], From: t.Type, To: to.Type, Fallback: to.fallback,
		source: t, role: p.model.roleOf(t.Name)}
	if to.Type == t.Type {
		out.Bytes = t.Size()
		p.Tensors = append(p.Tensors, out)
		return nil
	}
	if err := p.check(t, to.Type); err != nil {
		return err
	}
	row, err := to.RowSize(t.Cols())
	if err != nil {
		return fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	out.Bytes = row * t.Rows()
	if err := out.weigh(p.opt.Imatrix, p.opt.Type.Name); err != nil {
		return err
	}
	p.Tensors = append(p.Tensors, out)
	return nil
}

// check says whether a tensor can get another type.
func (p *Plan) check(t *gguf.Tensor, to gguf.Type) error {
	switch {
	case !quant.Supported(to):
		return fmt.Errorf("tensor %q: nothing can be quantized to %v", t.Name, to)
	case !quant.Supported(t.Type):
		return fmt.Errorf("tensor %q: %v holds no weights that can be quantized", t.Name, t.Type)
	case quantized(t.Type) && !p.opt.AllowRequantize:
		return fmt.Errorf("tensor %q is %v already: %w", t.Name, t.Type, ErrQuantized)
	}
	return nil
}

// weigh finds the importance of a tensor's columns and refuses types that need it where there is none.
func (t *Tensor) weigh(m *imatrix.Matrix, fileType string) error {
	if m != nil {
		if e := m.Entry(t.Name); e != nil {
			if err := t.setImportance(e); err != nil {
				return fmt.Errorf("%s: %w", m.Path, err)
			}
		}
	}
	t.Weighted = t.importance != nil
	if t.Weighted || !needsImportance(t.role, t.To, fileType) {
		return nil
	}
	if m == nil {
		return fmt.Errorf("tensor %q as %v %w", t.Name, t.To, ErrNeedsImportance)
	}
	return fmt.Errorf("tensor %q as %v %w, and %s has no entry for it", t.Name, t.To, ErrNeedsImportance, m.Path)
}

func (t *Tensor) setImportance(e *imatrix.Entry) error {
	values := e.Importance()
	if want := t.source.Cols() * dim(t.source, 2); int64(len(values)) != want {
		if t.role == embedding { // it is looked up, not multiplied: what was measured is of something else
			return nil
		}
		return fmt.Errorf("the entry of tensor %q holds %d values, expected %d: it belongs to another model", t.Name,
			len(values), want)
	}
	t.importance = values
	return nil
}

// needsImportance says whether a tensor is useless in a type without an importance matrix. The embedding and the head,
// which usually have none, need it only where the type cannot be made without it.
func needsImportance(r role, to gguf.Type, fileType string) bool {
	if quant.NeedsImportance(to) {
		return true
	}
	if r == embedding || r == head {
		return false
	}
	switch to {
	case gguf.IQ3_XXS, gguf.IQ2_XXS, gguf.IQ2_XS, gguf.IQ2_S, gguf.IQ1_M, gguf.IQ1_S:
		return true
	case gguf.Q2_K:
		return fileType == "Q2_K_S"
	}
	return false
}

// FileType is the file type that the metadata will name.
func (p *Plan) FileType() FileType { return p.opt.Type }

// Weights is the number of weights of all tensors.
func (p *Plan) Weights() int64 {
	n := int64(0)
	for i := range p.Tensors {
		n += p.Tensors[i].source.Elements()
	}
	return n
}

// DataBytes is the planned size of all tensors' data; InputBytes is the size of the input.
func (p *Plan) DataBytes() int64 {
	n := int64(0)
	for i := range p.Tensors {
		n += p.Tensors[i].Bytes
	}
	return n
}

// InputBytes is the size of all tensors' data as they are.
func (p *Plan) InputBytes() int64 {
	n := int64(0)
	for i := range p.Tensors {
		n += p.Tensors[i].source.Size()
	}
	return n
}

// BitsPerWeight is the size of the planned data, in bits, for each weight.
func (p *Plan) BitsPerWeight() float64 { return 8 * float64(p.DataBytes()) / float64(p.Weights()) }

// Unweighted are the tensors that are quantized without an importance matrix, except for embeddings, which usually
// have none.
func (p *Plan) Unweighted() []Tensor {
	return p.filter(func(t *Tensor) bool {
		return t.From != t.To && quantized(t.To) && !t.Weighted && t.role != embedding && t.role != head
	})
}

// Fallbacks are the tensors that got another type than the wanted one because of their rows.
func (p *Plan) Fallbacks() []Tensor {
	return p.filter(func(t *Tensor) bool { return t.Fallback })
}

func (p *Plan) filter(keep func(*Tensor) bool) []Tensor {
	var kept []Tensor
	for i := range p.Tensors {
		if t := &p.Tensors[i]; keep(t) {
			kept = append(kept, *t)
		}
	}
	return kept
}
