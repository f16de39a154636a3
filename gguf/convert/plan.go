package convert

import (
	"fmt"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/quantize"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/modelcard"
	"github.com/peftconv/peftconv/internal/store"
)

// Options says what the GGUF file gets.
type Options struct {
	Type string // f32, f16, bf16, q8_0, tq1_0, tq2_0, auto, or a file type as package quantize has them; "": auto
	// Quantize are further options for file types that package quantize makes.
	Quantize   quantize.Options
	SplitBytes int64 // of tensors in a file; 0: there is one file
	VocabOnly  bool  // metadata without tensors

	Metadata     string // a JSON file whose keys overrule others
	Name         string // of the model
	PreTokenizer string // "": found by what the tokenizer does
	// ForcePreTokenizer takes for an unknown pre-tokenizer one that cuts a reference text as the files do.
	ForcePreTokenizer bool
	ID                string // "owner/name" of the model, where its directory is not named after it; "": it is
}

// Plan is a GGUF file to write.
type Plan struct {
	*quantize.Plan

	store *store.Store
	name  string   // of the file, where none is given
	notes []string // what is not as someone may expect
}

// Notes says what is not as one may expect of the model's files.
func (p *Plan) Notes() []string { return p.notes }

// Inputs are the files of the model's weights.
func (p *Plan) Inputs() []string { return p.store.Files }

// FileName is the name of the file where none is given.
func (p *Plan) FileName() string { return p.name }

// Close closes the files of the model. The plan cannot be written after it.
func (p *Plan) Close() error { return p.store.Close() }

// NewPlan plans the conversion of a model in Hugging Face's form: a directory, a safetensors file or the index of
// several, with config.json and the files of the tokenizer beside. It is to be closed. Errors: an architecture that is
// not known, metadata and tensors that are missing, have no place, or are of the wrong kind.
func NewPlan(path string, opt Options) (_ *Plan, err error) {
	defer mapped.Guard(&err)()
	s, err := store.Open(path)
	if err != nil {
		return nil, err
	}
	p, err := newPlan(s, opt)
	if err != nil {
		s.Close()
		return nil, err
	}
	return p, nil
}

func newPlan(s *store.Store, opt Options) (*Plan, error) {
	if s.Safetensors == nil {
		return nil, fmt.Errorf("%s: a GGUF file, expected a Hugging Face directory: \"--to hf\" makes one of it, "+
			"\"peftconv quantize\" changes its types", s.Path)
	}
	model, err := arch.Read(s)
	if err != nil {
		return nil, err
	}
	if model.Arch.Conversion.Keys == nil {
		return nil, fmt.Errorf("%s: the conversion of %s is %w, expected one of %s", s.ConfigPath(), model.HF.Class,
			arch.ErrUnsupported, strings.Join(arch.Convertible(), ", "))
	}
	c := &conversion{store: s, model: model, opt: opt}
	if c.config, err = s.Config(); err != nil {
		return nil, err
	}
	words, err := c.vocabulary()
	if err != nil {
		return nil, err
	}
	return c.plan(words)
}

// conversion is a Plan in the making.
type conversion struct {
	store  *store.Store
	model  *arch.Model
	opt    Options
	config map[string]any
	out    outType
	gather gather
}

// plan plans the file for a vocabulary.
func (c *conversion) plan(words words) (*Plan, error) {
	var err error
	if c.out, err = c.outType(); err != nil {
		return nil, err
	}
	c.gather = gather{model: c.model, spec: &c.model.Spec, file: c.store.Safetensors}
	c.gather.drafts, c.gather.tied = c.drafts(), c.model.Spec.Tied
	c.gather.tokens = words.Size()
	if err := c.gather.readScales(c.config); err != nil {
		return nil, fmt.Errorf("%s: %w", c.store.ConfigPath(), err)
	}
	if err := c.gather.run(); err != nil {
		return nil, fmt.Errorf("%s: %w", c.store.Path, err)
	}
	card, err := modelcard.Read(c.folder(), c.config, modelcard.Options{Metadata: c.opt.Metadata, Name: c.opt.Name,
		ID: c.opt.ID})
	if err != nil {
		return nil, err
	}
	r := &reader{outputs: map[*gguf.Tensor]*output{}, release: c.store.Release}
	file := &gguf.File{Path: c.store.Path}
	if !c.opt.VocabOnly {
		for _, out := range c.gather.outputs {
			c.out.give(out)
			r.outputs[&out.Tensor] = out
			file.Tensors = append(file.Tensors, &out.Tensor)
		}
	}
	count := modelcard.Count(file.Table())
	if file.Meta, err = c.metadata(card, count, words); err != nil {
		return nil, err
	}
	p, err := c.finish(file, r)
	if err != nil {
		return nil, err
	}
	p.notes = append(card.Notes(), words.Notes()...)
	p.name, err = card.FileName(count, p.FileType().Name)
	return p, err
}

// finish plans the output of a model that no file has.
func (c *conversion) finish(file *gguf.File, r *reader) (*Plan, error) {
	p := &Plan{store: c.store}
	if c.out.quantized == nil {
		p.Plan = quantize.NewCopyPlan(file, r, c.out.Type.String())
	} else {
		opt := c.opt.Quantize
		opt.Type, opt.Reader = *c.out.quantized, r
		var err error
		if p.Plan, err = quantize.NewPlan(file, opt); err != nil {
			return nil, err
		}
	}
	if c.opt.SplitBytes > 0 {
		p.Split(c.opt.SplitBytes)
	}
	return p, nil
}

// drafts is how many layers that guess further tokens the files have.
func (c *conversion) drafts() int {
	n := 0
	for _, t := range c.store.Safetensors.Tensors {
		inHF, _ := c.model.Arch.Drafted(c.model.HF.Unrenamed(t.Name), c.model.Spec.Layers)
		var layer int
		if _, err := fmt.Sscanf(inHF, "model.layers.%d.", &layer); err == nil {
			n = max(n, layer+1-c.model.Spec.Layers)
		}
	}
	if c.model.Arch.Conversion.DropsDrafts {
		return 0
	}
	return n
}
